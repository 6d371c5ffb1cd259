/* Where a piece ends: the alternatives of the published expressions, in their order.
 *
 * GPT-2: 's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
 * Qwen 2: the same contractions in any case|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|
 *         \s*[\r\n]+|\s+(?!\S)|\s+ */
#include "tokenizer.h"

typedef struct {
  const daypack_tokenizer *tokenizer;
  const uint32_t *points;
  uint32_t count;
  bool over;
} view;

static uint32_t class_at(const view *text, uint32_t index) {
  uint32_t point = text->points[index];
  if (point < 0x80) {
    uint32_t lower = point | 0x20;
    if (lower >= 'a' && lower <= 'z') return DAYPACK_LETTER;
    if (point >= '0' && point <= '9') return DAYPACK_NUMBER;
    return point == ' ' || (point >= '\t' && point <= '\r') ? DAYPACK_SPACE : DAYPACK_OTHER;
  }
  return daypack_range_value(text->tokenizer->classes, text->tokenizer->header->class_count, point);
}

static uint32_t run_end(const view *text, uint32_t index, uint32_t class, uint32_t limit) {
  uint32_t end = limit == 0 || limit > text->count - index ? text->count : index + limit;
  while (index < end && class_at(text, index) == class) index++;
  return index;
}

static bool is_line_end(uint32_t point) { return point == '\r' || point == '\n'; }

static uint32_t folded(const view *text, uint32_t index) {
  if (index >= text->count) return 0;
  uint32_t point = text->points[index];
  if (text->tokenizer->header->kind == DAYPACK_TOKENIZER_GPT2) return point;
  if (point == 0x17F) return 's'; /* the long s */
  return point >= 'A' && point <= 'Z' ? point + 0x20 : point;
}

static uint32_t contraction(const view *text) {
  if (text->points[0] != '\'') return 0;
  uint32_t first = folded(text, 1);
  uint32_t second = folded(text, 2);
  if (first == 's' || first == 't' || first == 'm' || first == 'd') return 2;
  if ((first == 'r' && second == 'e') || (first == 'v' && second == 'e') || (first == 'l' && second == 'l')) return 3;
  return 0;
}

static uint32_t spaces(const view *text, bool lines) {
  uint32_t end = run_end(text, 0, DAYPACK_SPACE, 0);
  if (end == text->count && !text->over) return end;
  for (uint32_t index = end; lines && index > 0; index--)
    if (is_line_end(text->points[index - 1])) return index;
  return end == text->count || end == 1 ? end : end - 1;
}

static uint32_t gpt2_piece(const view *text) {
  uint32_t found = contraction(text);
  if (found > 0) return found;
  uint32_t start = text->points[0] == ' ' && text->count > 1 ? 1 : 0;
  uint32_t class = class_at(text, start);
  return class == DAYPACK_SPACE ? spaces(text, false) : run_end(text, start, class, 0);
}

static uint32_t qwen_piece(const view *text) {
  uint32_t found = contraction(text);
  if (found > 0) return found;
  uint32_t class = class_at(text, 0);
  if (class == DAYPACK_LETTER) return run_end(text, 0, DAYPACK_LETTER, 0);
  if (class == DAYPACK_NUMBER) return run_end(text, 0, DAYPACK_NUMBER, text->tokenizer->header->number_run);
  if (!is_line_end(text->points[0]) && text->count > 1 && class_at(text, 1) == DAYPACK_LETTER)
    return run_end(text, 1, DAYPACK_LETTER, 0);
  uint32_t start = text->points[0] == ' ' && text->count > 1 && class_at(text, 1) == DAYPACK_OTHER ? 1 : 0;
  if (class_at(text, start) != DAYPACK_OTHER) return spaces(text, true);
  uint32_t end = run_end(text, start, DAYPACK_OTHER, 0);
  while (end < text->count && is_line_end(text->points[end])) end++;
  return end;
}

/* A boundary that no merge can cross: the characters on its sides are neighbours in no result of a merge. */
static uint32_t unjoined_piece(const view *text) {
  uint32_t mask = 32 * text->tokenizer->header->pair_words - 1;
  uint32_t end = 1;
  for (; end < text->count; end++) {
    uint32_t bit = (text->points[end - 1] * 0x9E3779B1u) ^ (text->points[end] * 0x85EBCA77u);
    bit = (bit ^ (bit >> 15)) & mask;
    if (((text->tokenizer->pairs[bit / 32] >> (bit % 32)) & 1) == 0) break;
  }
  return end;
}

/* A match is good when what comes later cannot change it: two points are seen after it, or the segment is over. */
uint32_t daypack_piece_length(const daypack_tokenizer *tokenizer, const uint32_t *points, uint32_t count, bool over) {
  view text = {tokenizer, points, count, over};
  uint32_t length = 0;
  switch (tokenizer->header->kind) {
    case DAYPACK_TOKENIZER_GPT2: length = gpt2_piece(&text); break;
    case DAYPACK_TOKENIZER_QWEN: length = qwen_piece(&text); break;
    default: length = unjoined_piece(&text);
  }
  return over || length + 2 <= count ? length : 0;
}
