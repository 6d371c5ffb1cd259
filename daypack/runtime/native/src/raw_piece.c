/* The fragments of a piece as one text in UTF-8. */
#include <string.h>

#include "raw.h"

static daypack_fragment *add(daypack_piece *piece) {
  daypack_fragment *added = &piece->fragments[piece->count++];
  memset(added, 0, sizeof *added);
  return added;
}

/* A piece has at most ten: those of a question with its options. */
void daypack_add_literal(daypack_piece *piece, const char *text, uint64_t size_bytes) {
  daypack_fragment *added = add(piece);
  added->form = DAYPACK_LITERAL;
  added->literal = text;
  added->span.end = size_bytes;
}

void daypack_add_span(daypack_piece *piece, daypack_form form, daypack_span span) {
  daypack_fragment *added = add(piece);
  added->form = form;
  added->span = span;
}

/* The next character of a fragment in the file, which is not over. */
static daypack_code next_point(daypack_raw *raw, const daypack_fragment *fragment, uint32_t *point) {
  if (fragment->form == DAYPACK_JSON_STRING) return daypack_json_point(raw, point);
  daypack_code code = daypack_raw_point(raw, point);
  if (code == DAYPACK_OK && fragment->form == DAYPACK_QUOTED_FIELD && *point == '"') raw->offset_bytes++; /* doubled */
  return code;
}

static uint32_t put(uint8_t *bytes, uint32_t point) {
  if (point < 0x80) {
    bytes[0] = (uint8_t)point;
    return 1;
  }
  uint32_t rest = point < 0x800 ? 1 : point < 0x10000 ? 2 : 3;
  bytes[0] = (uint8_t)(((0xFF00u >> (rest + 1)) & 0xFF) | point >> (6 * rest));
  for (uint32_t index = 1; index <= rest; index++)
    bytes[index] = (uint8_t)(0x80 | ((point >> (6 * (rest - index))) & 0x3F));
  return rest + 1;
}

/* Until the fragment ends or less than a character's room is left. */
static daypack_code read_fragment(daypack_piece *piece, const daypack_fragment *fragment, uint8_t *bytes,
                                  uint32_t size_bytes, uint32_t *count) {
  daypack_raw *raw = piece->raw;
  if (fragment->form == DAYPACK_LITERAL) {
    uint64_t left = fragment->span.end - piece->place;
    uint32_t size = left < size_bytes - *count ? (uint32_t)left : size_bytes - *count;
    memcpy(bytes + *count, fragment->literal + piece->place, size);
    *count += size;
    piece->place += size;
    return DAYPACK_OK;
  }
  raw->offset_bytes = piece->place;
  while (raw->offset_bytes < fragment->span.end && size_bytes - *count >= 4) {
    uint32_t point = 0;
    daypack_code code = next_point(raw, fragment, &point);
    if (code != DAYPACK_OK) return code;
    *count += put(bytes + *count, point);
  }
  piece->place = raw->offset_bytes;
  return DAYPACK_OK;
}

daypack_code daypack_read_piece(void *context, uint8_t *bytes, uint32_t size_bytes, uint32_t *count) {
  daypack_piece *piece = context;
  *count = 0;
  while (piece->next < piece->count) {
    const daypack_fragment *fragment = &piece->fragments[piece->next];
    if (piece->place < fragment->span.begin) piece->place = fragment->span.begin;
    daypack_code code = read_fragment(piece, fragment, bytes, size_bytes, count);
    if (code != DAYPACK_OK) return code;
    if (piece->place < fragment->span.end) return DAYPACK_OK;
    piece->next++;
    piece->place = 0;
  }
  return DAYPACK_OK;
}
