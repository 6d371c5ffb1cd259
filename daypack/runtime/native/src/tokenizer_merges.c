/* Byte-pair merges of one piece: the lowest merge first, the leftmost of equals, in O(n log n). */
#include "tokenizer.h"

static void sift_up(uint64_t *heap, uint64_t index) {
  uint64_t value = heap[index];
  for (; index > 0 && heap[(index - 1) / 2] > value; index = (index - 1) / 2) heap[index] = heap[(index - 1) / 2];
  heap[index] = value;
}

static uint64_t pop(daypack_tokenizer *tokenizer) {
  uint64_t *heap = tokenizer->heap;
  uint64_t top = heap[0];
  uint64_t count = --tokenizer->heap_count;
  uint64_t value = heap[count];
  uint64_t index = 0;
  for (uint64_t child = 1; child < count; child = 2 * index + 1) {
    if (child + 1 < count && heap[child + 1] < heap[child]) child++;
    if (heap[child] >= value) break;
    heap[index] = heap[child];
    index = child;
  }
  heap[index] = value;
  return top;
}

/* The number of the merge of two ids, or DAYPACK_NO_ID. */
static uint32_t find_merge(const daypack_tokenizer *tokenizer, uint32_t left, uint32_t right) {
  uint32_t count = tokenizer->header->slot_count;
  uint32_t hash = left * 0x9E3779B1u ^ right * 0x85EBCA77u;
  hash ^= hash >> 15;
  for (uint32_t slot = (uint32_t)((uint64_t)hash * count >> 32);; slot = slot + 1 == count ? 0 : slot + 1) {
    const uint32_t *row = tokenizer->slots + 3 * (size_t)slot;
    if (row[0] == DAYPACK_NO_ID) return DAYPACK_NO_ID;
    if (row[0] == left && row[1] == right) return row[2];
  }
}

static void offer(daypack_tokenizer *tokenizer, uint32_t left) {
  const daypack_symbol *symbol = &tokenizer->symbols[left];
  if (symbol->next == DAYPACK_NO_ID) return;
  uint32_t merge = find_merge(tokenizer, symbol->id, tokenizer->symbols[symbol->next].id);
  if (merge == DAYPACK_NO_ID) return;
  tokenizer->heap[tokenizer->heap_count] = (uint64_t)merge << 32 | left;
  sift_up(tokenizer->heap, tokenizer->heap_count++);
}

static void merge_all(daypack_tokenizer *tokenizer) {
  daypack_symbol *symbols = tokenizer->symbols;
  while (tokenizer->heap_count > 0) {
    uint64_t top = pop(tokenizer);
    uint32_t left = (uint32_t)top;
    uint32_t id = tokenizer->results[top >> 32];
    daypack_symbol *symbol = &symbols[left];
    if (symbol->id == DAYPACK_NO_ID || symbol->next == DAYPACK_NO_ID) continue;
    daypack_symbol *right = &symbols[symbol->next];
    /* Another merge of the same result is as good: `tokenizers` compares results too. */
    uint32_t merge = find_merge(tokenizer, symbol->id, right->id);
    if (merge == DAYPACK_NO_ID || tokenizer->results[merge] != id) continue;
    symbol->id = id;
    symbol->next = right->next;
    right->id = DAYPACK_NO_ID;
    if (symbol->next != DAYPACK_NO_ID) symbols[symbol->next].previous = left;
    if (symbol->previous != DAYPACK_NO_ID) offer(tokenizer, symbol->previous);
    offer(tokenizer, left);
  }
}

static bool append(daypack_tokenizer *tokenizer, uint32_t *count, uint32_t id) {
  if (*count == tokenizer->capacity) return false;
  tokenizer->symbols[*count] = (daypack_symbol){id, *count - 1, *count + 1}; /* before the first: DAYPACK_NO_ID */
  (*count)++;
  return true;
}

static bool append_bytes(daypack_tokenizer *tokenizer, uint32_t *count, uint32_t point) {
  const uint32_t *ids = tokenizer->byte_ids;
  if (point < 0x80) return append(tokenizer, count, ids[point]);
  int rest = point < 0x800 ? 1 : point < 0x10000 ? 2 : 3;
  uint32_t first = ((0xFF00u >> (rest + 1)) & 0xFF) | point >> (6 * rest);
  if (!append(tokenizer, count, ids[first & 0xFF])) return false;
  while (rest-- > 0)
    if (!append(tokenizer, count, ids[0x80 | ((point >> (6 * rest)) & 0x3F)])) return false;
  return true;
}

static uint32_t character_id(const daypack_tokenizer *tokenizer, uint32_t point) {
  uint32_t low = 0;
  uint32_t high = tokenizer->header->character_count;
  while (low < high) {
    uint32_t middle = low + (high - low) / 2;
    uint32_t found = tokenizer->characters[2 * (size_t)middle];
    if (found == point) return tokenizer->characters[2 * (size_t)middle + 1];
    if (found < point)
      low = middle + 1;
    else
      high = middle;
  }
  return DAYPACK_NO_ID;
}

/* The ids of the piece against those of a row: below, equal or above as less than, 0 or more than 0. */
static int compare_whole(const daypack_tokenizer *tokenizer, uint32_t row) {
  const uint32_t *part = tokenizer->whole_parts + tokenizer->whole_starts[row];
  const uint32_t *end = tokenizer->whole_parts + tokenizer->whole_starts[row + 1];
  uint32_t index = 0;
  for (; index != DAYPACK_NO_ID && part < end; index = tokenizer->symbols[index].next, part++) {
    uint32_t id = tokenizer->symbols[index].id;
    if (id != *part) return id < *part ? -1 : 1;
  }
  return index != DAYPACK_NO_ID ? 1 : part < end ? -1 : 0;
}

/* The token that the whole piece is, where merges make several of it; DAYPACK_NO_ID if there is none. */
static uint32_t find_whole(const daypack_tokenizer *tokenizer) {
  uint32_t low = 0;
  uint32_t high = tokenizer->header->whole_count;
  while (low < high) {
    uint32_t middle = low + (high - low) / 2;
    int order = compare_whole(tokenizer, middle);
    if (order == 0) return tokenizer->whole_ids[middle];
    if (order > 0)
      low = middle + 1;
    else
      high = middle;
  }
  return DAYPACK_NO_ID;
}

daypack_code daypack_merge_piece(daypack_tokenizer *tokenizer, const uint32_t *points, uint32_t count) {
  uint32_t symbols = 0;
  bool room = true;
  for (uint32_t index = 0; index < count && room; index++) {
    uint32_t id = tokenizer->header->kind == DAYPACK_TOKENIZER_SPACES ? character_id(tokenizer, points[index])
                                                                      : DAYPACK_NO_ID;
    room = id == DAYPACK_NO_ID ? append_bytes(tokenizer, &symbols, points[index]) : append(tokenizer, &symbols, id);
  }
  if (!room)
    return daypack_fail(tokenizer->error, DAYPACK_BAD_INPUT,
                        "%s: expected pieces of at most %u bytes, found a longer run without a boundary; break it "
                        "into lines or words",
                        tokenizer->name, tokenizer->capacity);
  tokenizer->symbols[symbols - 1].next = DAYPACK_NO_ID;
  tokenizer->heap_count = 0;
  for (uint32_t index = 0; index < symbols; index++) offer(tokenizer, index);
  merge_all(tokenizer);
  uint32_t whole = find_whole(tokenizer);
  if (whole != DAYPACK_NO_ID) return daypack_emit(tokenizer, whole);
  for (uint32_t index = 0; index != DAYPACK_NO_ID; index = tokenizer->symbols[index].next) {
    daypack_code code = daypack_emit(tokenizer, tokenizer->symbols[index].id);
    if (code != DAYPACK_OK) return code;
  }
  return DAYPACK_OK;
}
