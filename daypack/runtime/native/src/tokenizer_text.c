/* UTF-8 to points, malformed bytes as U+FFFD, and added tokens taken out: the longest at the first place. */
#include <string.h>

#include "tokenizer.h"

enum { REPLACEMENT = 0xFFFD };

void daypack_begin_text(daypack_tokenizer *tokenizer) {
  tokenizer->byte_head = tokenizer->byte_count = 0;
  tokenizer->bytes_over = false;
  tokenizer->raw_head = tokenizer->raw_count = 0;
  tokenizer->normal_head = tokenizer->normal_count = 0;
  tokenizer->held = DAYPACK_NO_ID;
}

/* The next byte without taking it, or -1 at the end. */
static daypack_code peek(daypack_tokenizer *tokenizer, int *byte) {
  if (tokenizer->byte_head == tokenizer->byte_count && !tokenizer->bytes_over) {
    tokenizer->byte_head = tokenizer->byte_count = 0;
    daypack_code code =
        tokenizer->read(tokenizer->context, tokenizer->bytes, sizeof tokenizer->bytes, &tokenizer->byte_count);
    if (code != DAYPACK_OK) return code;
    tokenizer->bytes_over = tokenizer->byte_count == 0;
  }
  *byte = tokenizer->bytes_over ? -1 : tokenizer->bytes[tokenizer->byte_head];
  return DAYPACK_OK;
}

int daypack_utf8_rest(int first, int *low, int *high) {
  *low = first == 0xE0 ? 0xA0 : first == 0xF0 ? 0x90 : 0x80;
  *high = first == 0xED ? 0x9F : first == 0xF4 ? 0x8F : 0xBF;
  if (first >= 0xC2 && first <= 0xDF) return 1;
  if (first >= 0xE0 && first <= 0xEF) return 2;
  if (first >= 0xF0 && first <= 0xF4) return 3;
  return 0;
}

static daypack_code decode(daypack_tokenizer *tokenizer, uint32_t *point) {
  int byte = 0;
  int low = 0;
  int high = 0;
  daypack_code code = peek(tokenizer, &byte);
  *point = DAYPACK_NO_ID;
  if (code != DAYPACK_OK || byte < 0) return code;
  tokenizer->byte_head++;
  *point = (uint32_t)byte;
  if (byte < 0x80) return DAYPACK_OK;
  int rest = daypack_utf8_rest(byte, &low, &high);
  *point = rest == 0 ? REPLACEMENT : (uint32_t)byte & (0x3Fu >> rest);
  for (; rest > 0; rest--, low = 0x80, high = 0xBF) {
    code = peek(tokenizer, &byte);
    if (code != DAYPACK_OK) return code;
    if (byte < low || byte > high) {
      *point = REPLACEMENT;
      return DAYPACK_OK;
    }
    tokenizer->byte_head++;
    *point = *point << 6 | ((uint32_t)byte & 0x3F);
  }
  return DAYPACK_OK;
}

static daypack_code fill_raw(daypack_tokenizer *tokenizer) {
  uint32_t wanted = tokenizer->longest_added > 0 ? tokenizer->longest_added : 1;
  if (tokenizer->raw_count - tokenizer->raw_head >= wanted) return DAYPACK_OK;
  tokenizer->raw_count -= tokenizer->raw_head;
  memmove(tokenizer->raw, tokenizer->raw + tokenizer->raw_head, tokenizer->raw_count * sizeof *tokenizer->raw);
  tokenizer->raw_head = 0;
  while (tokenizer->raw_count < sizeof tokenizer->raw / sizeof tokenizer->raw[0]) {
    uint32_t point = 0;
    daypack_code code = decode(tokenizer, &point);
    if (code != DAYPACK_OK) return code;
    if (point == DAYPACK_NO_ID) return DAYPACK_OK;
    tokenizer->raw[tokenizer->raw_count++] = point;
  }
  return DAYPACK_OK;
}

/* The character at `depth` of added token `index`, plus one; 0 after its end: shorter ones sort first. */
static uint32_t added_at(const daypack_tokenizer *tokenizer, uint32_t index, uint32_t depth) {
  uint32_t start = tokenizer->added_starts[index];
  return depth < tokenizer->added_starts[index + 1] - start ? tokenizer->added_points[start + depth] + 1 : 0;
}

/* Of [low, high), the first whose character at `depth` is not below `wanted`. */
static uint32_t first_added(const daypack_tokenizer *tokenizer, uint32_t low, uint32_t high, uint32_t depth,
                            uint32_t wanted) {
  while (low < high) {
    uint32_t middle = low + (high - low) / 2;
    if (added_at(tokenizer, middle, depth) < wanted)
      low = middle + 1;
    else
      high = middle;
  }
  return low;
}

/* Length of the longest added token at the head, or 0. */
static uint32_t match_added(daypack_tokenizer *tokenizer, uint32_t *id) {
  const uint32_t *text = tokenizer->raw + tokenizer->raw_head;
  uint32_t left = tokenizer->raw_count - tokenizer->raw_head;
  uint32_t low = 0;
  uint32_t high = tokenizer->header->added_count;
  uint32_t longest = 0;
  for (uint32_t depth = 0; low < high; depth++) {
    if (depth > 0 && added_at(tokenizer, low, depth) == 0) {
      longest = depth;
      *id = tokenizer->added_ids[low];
    }
    if (depth == left) break;
    low = first_added(tokenizer, low, high, depth, text[depth] + 1);
    high = first_added(tokenizer, low, high, depth, text[depth] + 2);
  }
  return longest;
}

daypack_code daypack_next_raw(daypack_tokenizer *tokenizer, uint32_t *point) {
  *point = DAYPACK_NO_ID;
  if (tokenizer->segment_over) return DAYPACK_OK;
  daypack_code code = fill_raw(tokenizer);
  if (code != DAYPACK_OK) return code;
  tokenizer->segment_over = tokenizer->raw_head == tokenizer->raw_count;
  if (tokenizer->segment_over) return DAYPACK_OK;
  uint32_t length = match_added(tokenizer, &tokenizer->added_found);
  tokenizer->segment_over = length > 0;
  tokenizer->raw_head += length;
  if (length == 0) *point = tokenizer->raw[tokenizer->raw_head++];
  return DAYPACK_OK;
}
