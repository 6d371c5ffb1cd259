/* The tables of a tokenizer.dpt, checked, and the loop from segments to pieces. */
#include "tokenizer.h"

#include <string.h>

static const char MAGIC[8] = {'D', 'P', 'T', 'O', 'K', 'E', 'N', '1'};
enum { POINT_LIMIT = 0x110000, BYTES = 256 };

static daypack_code refuse(daypack_error *error, const char *what) {
  return daypack_fail(error, DAYPACK_BAD_BUNDLE, "tokenizer.dpt: expected %s; compile the bundle again", what);
}

static const uint32_t *take(const uint32_t **cursor, uint64_t *left, uint64_t count) {
  const uint32_t *taken = *cursor;
  if (count > *left) return NULL;
  *cursor += count;
  *left -= count;
  return taken;
}

static daypack_code divide_tables(daypack_tokenizer *tokenizer, const void *tables, uint64_t size_bytes) {
  const daypack_tokenizer_header *header = tables;
  if (size_bytes < sizeof *header || memcmp(header->magic, MAGIC, sizeof MAGIC) != 0)
    return refuse(tokenizer->error, "its first bytes to be DPTOKEN1");
  if (header->file_bytes != size_bytes || size_bytes % sizeof(uint32_t) != 0)
    return refuse(tokenizer->error, "as many bytes as its header says");
  tokenizer->header = header;
  const uint32_t *cursor = (const uint32_t *)(header + 1);
  uint64_t left = (size_bytes - sizeof *header) / sizeof(uint32_t);
  struct {
    const uint32_t **table;
    uint64_t count;
  } parts[] = {
      {&tokenizer->byte_ids, BYTES},
      {&tokenizer->results, header->merge_count},
      {&tokenizer->slots, 3ull * header->slot_count},
      {&tokenizer->characters, 2ull * header->character_count},
      {&tokenizer->added_starts, header->added_count + 1ull},
      {&tokenizer->added_ids, header->added_count},
      {&tokenizer->added_points, header->added_point_count},
      {&tokenizer->classes, 2ull * header->class_count},
      {&tokenizer->orders, 2ull * header->order_count},
      {&tokenizer->decomposed, header->decomposed_count},
      {&tokenizer->decomposed_starts, header->decomposed_count + 1ull},
      {&tokenizer->decomposed_points, header->decomposed_point_count},
      {&tokenizer->compositions, 3ull * header->composition_count},
      {&tokenizer->pairs, header->pair_words},
      {&tokenizer->whole_starts, header->whole_count + 1ull},
      {&tokenizer->whole_ids, header->whole_count},
      {&tokenizer->whole_parts, header->whole_part_count},
  };
  for (size_t index = 0; index < sizeof parts / sizeof parts[0]; index++) {
    *parts[index].table = take(&cursor, &left, parts[index].count);
    if (*parts[index].table == NULL) return refuse(tokenizer->error, "tables of the sizes that its header says");
  }
  return left == 0 ? DAYPACK_OK : refuse(tokenizer->error, "nothing after its tables");
}

static bool ids_known(const daypack_tokenizer *tokenizer, const uint32_t *ids, uint64_t count, uint32_t stride) {
  for (uint64_t index = 0; index < count; index++)
    if (ids[index * stride] >= tokenizer->header->vocabulary) return false;
  return true;
}

/* Starts of rows in a table: from 0 to its size, every row of 1 to `longest`. */
static bool starts_good(const uint32_t *starts, uint32_t rows, uint32_t size, uint32_t longest) {
  if (starts[0] != 0 || starts[rows] != size) return false;
  for (uint32_t row = 0; row < rows; row++)
    if (starts[row + 1] <= starts[row] || starts[row + 1] > size || starts[row + 1] - starts[row] > longest)
      return false;
  return true;
}

static bool ranges_good(const uint32_t *ranges, uint32_t count) {
  if (count == 0 || ranges[0] != 0) return false;
  for (uint32_t index = 1; index < count; index++)
    if (ranges[2 * index] <= ranges[2 * index - 2]) return false;
  return true;
}

static bool classes_good(const daypack_tokenizer *tokenizer) {
  for (uint32_t index = 0; index < tokenizer->header->class_count; index++)
    if (tokenizer->classes[2 * (size_t)index + 1] > DAYPACK_SPACE) return false;
  return true;
}

static bool points_good(const uint32_t *points, uint64_t count, uint32_t stride) {
  for (uint64_t index = 0; index < count; index++)
    if (points[index * stride] >= POINT_LIMIT) return false;
  return true;
}

static bool slots_good(const daypack_tokenizer *tokenizer) {
  const daypack_tokenizer_header *header = tokenizer->header;
  uint32_t empty = 0;
  for (uint64_t slot = 0; slot < header->slot_count; slot++) {
    if (tokenizer->slots[3 * slot] == DAYPACK_NO_ID)
      empty++;
    else if (tokenizer->slots[3 * slot + 2] >= header->merge_count)
      return false;
  }
  return empty > 0;
}

static daypack_code check_tables(const daypack_tokenizer *tokenizer) {
  const daypack_tokenizer_header *header = tokenizer->header;
  if (header->kind < DAYPACK_TOKENIZER_GPT2 || header->kind > DAYPACK_TOKENIZER_SPACES || header->normalize > 1 ||
      header->number_run > 3 || header->reserved != 0 || header->vocabulary > INT32_MAX)
    return refuse(tokenizer->error, "a kind of tokenizer that this engine knows");
  if (!ids_known(tokenizer, tokenizer->byte_ids, BYTES, 1) ||
      !ids_known(tokenizer, tokenizer->results, header->merge_count, 1) ||
      !ids_known(tokenizer, tokenizer->characters + 1, header->character_count, 2) ||
      !ids_known(tokenizer, tokenizer->added_ids, header->added_count, 1) ||
      !ids_known(tokenizer, tokenizer->whole_ids, header->whole_count, 1))
    return refuse(tokenizer->error, "ids of its vocabulary");
  if (!slots_good(tokenizer)) return refuse(tokenizer->error, "merges that it has, and a free slot");
  if (!starts_good(tokenizer->added_starts, header->added_count, header->added_point_count, DAYPACK_ADDED_POINTS))
    return refuse(tokenizer->error, "added tokens of 1 to 256 characters");
  if (!starts_good(tokenizer->whole_starts, header->whole_count, header->whole_part_count, DAYPACK_WHOLE_PARTS))
    return refuse(tokenizer->error, "whole pieces of 1 to 256 tokens");
  if (!starts_good(tokenizer->decomposed_starts, header->decomposed_count, header->decomposed_point_count, 8) ||
      !points_good(tokenizer->decomposed_points, header->decomposed_point_count, 1) ||
      !points_good(tokenizer->compositions + 2, header->composition_count, 3))
    return refuse(tokenizer->error, "decompositions into 1 to 8 characters");
  if (!ranges_good(tokenizer->classes, header->class_count) || !ranges_good(tokenizer->orders, header->order_count))
    return refuse(tokenizer->error, "ranges of characters in ascending order from 0");
  if (!classes_good(tokenizer)) return refuse(tokenizer->error, "classes of characters that this engine knows");
  if ((header->pair_words & (header->pair_words - 1)) != 0 ||
      (header->kind == DAYPACK_TOKENIZER_SPACES) != (header->pair_words > 0))
    return refuse(tokenizer->error, "a power of two for the words of its pairs");
  return DAYPACK_OK;
}

static daypack_code divide_workspace(daypack_tokenizer *tokenizer, void *workspace, uint64_t workspace_bytes) {
  uint64_t capacity = workspace_bytes / DAYPACK_SYMBOL_BYTES;
  if (capacity > INT32_MAX) capacity = INT32_MAX;
  if (capacity < 2 * DAYPACK_ADDED_POINTS)
    return daypack_fail(tokenizer->error, DAYPACK_BAD_INPUT,
                        "tokenizer: expected room for pieces of 512 symbols, found %llu bytes",
                        (unsigned long long)workspace_bytes);
  tokenizer->capacity = (uint32_t)capacity;
  tokenizer->heap = workspace;
  tokenizer->symbols = (daypack_symbol *)(tokenizer->heap + 2 * capacity);
  tokenizer->points = (uint32_t *)(tokenizer->symbols + capacity);
  return DAYPACK_OK;
}

daypack_code daypack_load_tokenizer(daypack_tokenizer *tokenizer, daypack_error *error, const void *tables,
                                    uint64_t size_bytes, void *workspace, uint64_t workspace_bytes) {
  tokenizer->error = error;
  daypack_code code = divide_tables(tokenizer, tables, size_bytes);
  if (code == DAYPACK_OK) code = check_tables(tokenizer);
  if (code == DAYPACK_OK) code = divide_workspace(tokenizer, workspace, workspace_bytes);
  if (code != DAYPACK_OK) return code;
  tokenizer->longest_added = 0;
  for (uint32_t index = 0; index < tokenizer->header->added_count; index++) {
    uint32_t length = tokenizer->added_starts[index + 1] - tokenizer->added_starts[index];
    if (length > tokenizer->longest_added) tokenizer->longest_added = length;
  }
  return DAYPACK_OK;
}

uint32_t daypack_range_value(const uint32_t *ranges, uint32_t count, uint32_t point) {
  uint32_t low = 0;
  while (count - low > 1) {
    uint32_t middle = low + (count - low) / 2;
    if (ranges[2 * (size_t)middle] <= point)
      low = middle;
    else
      count = middle;
  }
  return ranges[2 * (size_t)low + 1];
}

static daypack_code flush(daypack_tokenizer *tokenizer) {
  uint32_t count = tokenizer->id_count;
  tokenizer->id_count = 0;
  return count > 0 ? tokenizer->write(tokenizer->context, tokenizer->ids, count) : DAYPACK_OK;
}

daypack_code daypack_emit(daypack_tokenizer *tokenizer, uint32_t id) {
  tokenizer->ids[tokenizer->id_count++] = id;
  return tokenizer->id_count == sizeof tokenizer->ids / sizeof tokenizer->ids[0] ? flush(tokenizer) : DAYPACK_OK;
}

/* Moves the rest of the points to the front and fills up behind it. */
static daypack_code fill(daypack_tokenizer *tokenizer, uint32_t *head, uint32_t *count, bool *over) {
  memmove(tokenizer->points, tokenizer->points + *head, (*count - *head) * sizeof *tokenizer->points);
  *count -= *head;
  *head = 0;
  while (*count < tokenizer->capacity) {
    uint32_t point = 0;
    daypack_code code = daypack_next_point(tokenizer, &point);
    if (code != DAYPACK_OK) return code;
    *over = point == DAYPACK_NO_ID;
    if (*over) break;
    tokenizer->points[(*count)++] = point;
  }
  return DAYPACK_OK;
}

static daypack_code tokenize_segment(daypack_tokenizer *tokenizer) {
  uint32_t head = 0;
  uint32_t count = 0;
  bool over = false;
  daypack_code code = fill(tokenizer, &head, &count, &over);
  while (code == DAYPACK_OK && head < count) {
    uint32_t length = daypack_piece_length(tokenizer, tokenizer->points + head, count - head, over);
    if (length > 0) {
      code = daypack_merge_piece(tokenizer, tokenizer->points + head, length);
      head += length;
    } else if (head == 0) {
      return daypack_fail(tokenizer->error, DAYPACK_BAD_INPUT,
                          "%s: expected pieces of less than %u characters, found a longer run without a boundary; "
                          "break it into lines or words",
                          tokenizer->name, tokenizer->capacity);
    }
    if (code == DAYPACK_OK && !over && (length == 0 || head == count)) code = fill(tokenizer, &head, &count, &over);
  }
  return code;
}

daypack_code daypack_tokenize(daypack_tokenizer *tokenizer, const char *name, daypack_text_read read,
                              daypack_ids_write write, void *context) {
  tokenizer->name = name;
  tokenizer->read = read;
  tokenizer->write = write;
  tokenizer->context = context;
  tokenizer->id_count = 0;
  daypack_begin_text(tokenizer);
  for (;;) {
    tokenizer->segment_over = false;
    tokenizer->added_found = DAYPACK_NO_ID;
    daypack_code code = tokenize_segment(tokenizer);
    if (code != DAYPACK_OK) return code;
    if (tokenizer->added_found == DAYPACK_NO_ID) return flush(tokenizer);
    code = daypack_emit(tokenizer, tokenizer->added_found);
    if (code != DAYPACK_OK) return code;
  }
}
