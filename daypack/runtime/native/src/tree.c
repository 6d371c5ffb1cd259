/* The hash tree of a bundle's large files. blocks.bin has the SHA-256 of each of their blocks; of it the hash of every
 * page stays in memory, so that the tree takes the same few pages for any model. A block is checked when a byte of it is
 * first read, and the bytes that are used then are those that were hashed. */
#include <stdatomic.h>
#include <string.h>

#include "internal.h"

enum { PAGE_DIGESTS = DAYPACK_PAGE_BYTES / DAYPACK_DIGEST_BYTES, MOST_BLOCKS = 1 << 15 };

static struct {
  int file;
  uint64_t blocks; /* that it has digests of */
  uint8_t pages[MOST_BLOCKS / PAGE_DIGESTS][DAYPACK_DIGEST_BYTES];
  _Atomic(uint64_t) checked[MOST_BLOCKS / 64];
} tree;

static void hash(const daypack_platform *platform, const uint8_t *data, uint64_t size_bytes,
                 uint8_t digest[DAYPACK_DIGEST_BYTES]) {
  const daypack_sha256_functions *sha256 = daypack_choose_sha256(platform);
  daypack_sha256 state;
  sha256->init(&state);
  sha256->update(&state, data, (size_t)size_bytes);
  sha256->final(&state, digest);
}

static uint64_t block_count(uint64_t file_bytes) {
  return file_bytes / DAYPACK_BLOCK_BYTES + (file_bytes % DAYPACK_BLOCK_BYTES != 0);
}

/* A page of the file, into `page`; how many bytes of it there are. */
static int64_t read_page(const daypack_platform *platform, uint64_t number, uint8_t page[DAYPACK_PAGE_BYTES],
                         uint64_t *size_bytes) {
  uint64_t begin = number * DAYPACK_PAGE_BYTES, rest_bytes = tree.blocks * DAYPACK_DIGEST_BYTES - begin, count = 0;
  *size_bytes = rest_bytes < DAYPACK_PAGE_BYTES ? rest_bytes : DAYPACK_PAGE_BYTES;
  daypack_range rest = {page, *size_bytes, begin};
  return daypack_read_range(platform, tree.file, &rest, &count);
}

daypack_code daypack_open_tree(daypack_engine *engine, int file, uint64_t size_bytes,
                               uint8_t digest[DAYPACK_DIGEST_BYTES]) {
  const daypack_sha256_functions *sha256 = daypack_choose_sha256(engine->platform);
  uint8_t page[DAYPACK_PAGE_BYTES];
  daypack_sha256 state;
  memset(&tree, 0, sizeof tree);
  tree.file = file;
  tree.blocks = size_bytes / DAYPACK_DIGEST_BYTES;
  if (size_bytes % DAYPACK_DIGEST_BYTES != 0 || tree.blocks > MOST_BLOCKS)
    return daypack_fail(&engine->error, DAYPACK_BAD_BUNDLE,
                        "blocks.bin: expected %d bytes a block and at most %d blocks, found %llu bytes",
                        DAYPACK_DIGEST_BYTES, MOST_BLOCKS, (unsigned long long)size_bytes);
  sha256->init(&state);
  for (uint64_t number = 0; number * DAYPACK_PAGE_BYTES < size_bytes; number++) {
    uint64_t count = 0;
    int64_t result = read_page(engine->platform, number, page, &count);
    daypack_range rest = {page, count, number * DAYPACK_PAGE_BYTES};
    if (result != 1) return daypack_fail_read(&engine->error, engine->underway, "blocks.bin", &rest, result);
    sha256->update(&state, page, (size_t)count);
    hash(engine->platform, page, count, tree.pages[number]);
  }
  sha256->final(&state, digest);
  return DAYPACK_OK;
}

daypack_code daypack_place_tree(daypack_engine *engine) {
  uint64_t data = block_count(engine->data_tree.file_bytes), weights = block_count(engine->weights_tree.file_bytes);
  engine->weights_tree.first = data;
  if (data + weights == tree.blocks) return DAYPACK_OK;
  return daypack_fail(&engine->error, DAYPACK_BAD_BUNDLE,
                      "blocks.bin: expected hashes of the %llu blocks of data.bin and weights.bin, found %llu",
                      (unsigned long long)(data + weights), (unsigned long long)tree.blocks);
}

/* 1, DAYPACK_ALTERED, or what reading gave. */
static int64_t check(const daypack_platform *platform, uint64_t number, const uint8_t *data, uint64_t size_bytes) {
  uint8_t page[DAYPACK_PAGE_BYTES], digest[DAYPACK_DIGEST_BYTES];
  uint64_t page_bytes = 0;
  int64_t result = read_page(platform, number / PAGE_DIGESTS, page, &page_bytes);
  if (result != 1) return result;
  hash(platform, page, page_bytes, digest);
  if (memcmp(digest, tree.pages[number / PAGE_DIGESTS], sizeof digest) != 0) return DAYPACK_ALTERED;
  hash(platform, data, size_bytes, digest);
  if (memcmp(digest, page + number % PAGE_DIGESTS * sizeof digest, sizeof digest) != 0) return DAYPACK_ALTERED;
  (void)atomic_fetch_or_explicit(&tree.checked[number / 64], UINT64_C(1) << number % 64, memory_order_relaxed);
  return 1;
}

static bool is_checked(uint64_t number) {
  return (atomic_load_explicit(&tree.checked[number / 64], memory_order_relaxed) >> number % 64 & 1) != 0;
}

uint64_t daypack_checked_bytes(const daypack_tree_place *place, const daypack_range *rest) {
  uint64_t at = rest->offset_bytes, end = at + rest->size_bytes;
  while (at < end && is_checked(place->first + at / DAYPACK_BLOCK_BYTES))
    at = (at / DAYPACK_BLOCK_BYTES + 1) * DAYPACK_BLOCK_BYTES;
  return (at < end ? at : end) - rest->offset_bytes;
}

static void advance(daypack_range *rest, uint64_t size_bytes) {
  rest->data += size_bytes;
  rest->offset_bytes += size_bytes;
  rest->size_bytes -= size_bytes;
}

/* A block that is wanted whole is hashed where it is wanted; of another the part is copied from what was hashed. */
int64_t daypack_read_block(const daypack_platform *platform, const daypack_paged_file *file, daypack_range *rest,
                           uint64_t *count) {
  uint64_t number = rest->offset_bytes / DAYPACK_BLOCK_BYTES, begin = number * DAYPACK_BLOCK_BYTES;
  uint64_t left = file->tree->file_bytes - begin, unused = 0;
  uint64_t size = left < DAYPACK_BLOCK_BYTES ? left : DAYPACK_BLOCK_BYTES;
  uint64_t before = rest->offset_bytes - begin;
  uint64_t wanted = rest->size_bytes < size - before ? rest->size_bytes : size - before;
  bool whole = wanted == size;
  if (!whole) daypack_take_buffer();
  daypack_range block = {whole ? rest->data : daypack_io_buffer, size, begin};
  const uint8_t *data = block.data;
  int64_t result = whole ? daypack_read_unchecked(platform, file, &block, count)
                         : daypack_read_range(platform, file->file, &block, &unused);
  if (result == 1) result = check(platform, file->tree->first + number, data, size);
  if (result == 1 && !whole) {
    memcpy(rest->data, data + before, (size_t)wanted);
    *count += wanted;
  }
  if (!whole) daypack_return_buffer();
  if (result == 1) advance(rest, wanted);
  return result;
}
