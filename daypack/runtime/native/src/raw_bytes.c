/* Bytes of a file by way of one buffer, as characters and as lines. */
#include <string.h>

#include "raw.h"

enum { REPLACEMENT = 0xFFFD };

void daypack_begin_raw(daypack_raw *raw, bool by_lines) {
  raw->buffer_offset_bytes = raw->buffer_count = raw->offset_bytes = 0;
  raw->line = by_lines ? 1 : 0;
  raw->line_end_bytes = UINT64_MAX;
}

daypack_code daypack_raw_refuse(const daypack_raw *raw, const char *text) {
  if (raw->line == 0) return daypack_fail(raw->error, DAYPACK_BAD_INPUT, "%s: %s", raw->name, text);
  return daypack_fail(raw->error, DAYPACK_BAD_INPUT, "%s: line %llu: %s", raw->name, (unsigned long long)raw->line,
                      text);
}

static daypack_code fill(daypack_raw *raw) {
  uint64_t left = raw->size_bytes - raw->offset_bytes;
  raw->buffer_offset_bytes = raw->offset_bytes;
  raw->buffer_count = 0;
  uint64_t count = left < DAYPACK_RAW_BYTES ? left : DAYPACK_RAW_BYTES;
  daypack_code code = raw->read(raw->context, raw->buffer, count, raw->offset_bytes);
  if (code == DAYPACK_OK) raw->buffer_count = count;
  return code;
}

daypack_code daypack_raw_peek(daypack_raw *raw, int *byte) {
  *byte = -1;
  if (raw->offset_bytes >= raw->size_bytes) return DAYPACK_OK;
  if (raw->offset_bytes >= raw->line_end_bytes)
    return daypack_raw_refuse(raw, "longer than 16777216 bytes; break it into documents of a line each");
  if (raw->offset_bytes - raw->buffer_offset_bytes >= raw->buffer_count) {
    daypack_code code = fill(raw);
    if (code != DAYPACK_OK) return code;
  }
  *byte = raw->buffer[raw->offset_bytes - raw->buffer_offset_bytes];
  return DAYPACK_OK;
}

daypack_code daypack_raw_point(daypack_raw *raw, uint32_t *point) {
  int byte = 0;
  int low = 0;
  int high = 0;
  *point = DAYPACK_NO_ID;
  daypack_code code = daypack_raw_peek(raw, &byte);
  if (code != DAYPACK_OK || byte < 0) return code;
  raw->offset_bytes++;
  *point = (uint32_t)byte;
  if (byte < 0x80) return DAYPACK_OK;
  int rest = daypack_utf8_rest(byte, &low, &high);
  *point = rest == 0 ? REPLACEMENT : (uint32_t)byte & (0x3Fu >> rest);
  for (; rest > 0; rest--, low = 0x80, high = 0xBF) {
    code = daypack_raw_peek(raw, &byte);
    if (code != DAYPACK_OK) return code;
    if (byte < low || byte > high) {
      *point = REPLACEMENT;
      return DAYPACK_OK;
    }
    raw->offset_bytes++;
    *point = *point << 6 | ((uint32_t)byte & 0x3F);
  }
  return DAYPACK_OK;
}

static daypack_code skip_mark(daypack_raw *raw) {
  static const int mark[] = {0xEF, 0xBB, 0xBF};
  int byte = 0;
  for (size_t index = 0; index < sizeof mark / sizeof *mark; index++) {
    daypack_code code = daypack_raw_peek(raw, &byte);
    if (code != DAYPACK_OK) return code;
    if (byte != mark[index]) {
      raw->offset_bytes = 0;
      return DAYPACK_OK;
    }
    raw->offset_bytes++;
  }
  return DAYPACK_OK;
}

daypack_code daypack_begin_line(daypack_raw *raw, bool *more) {
  bool first = raw->offset_bytes == 0;
  *more = raw->offset_bytes < raw->size_bytes;
  raw->line_end_bytes = raw->offset_bytes > UINT64_MAX - DAYPACK_LONGEST_LINE_BYTES
                            ? UINT64_MAX
                            : raw->offset_bytes + DAYPACK_LONGEST_LINE_BYTES;
  return first && *more ? skip_mark(raw) : DAYPACK_OK;
}

bool daypack_is_white(uint32_t point) {
  if (point < 0x80) return point == ' ' || (point >= '\t' && point <= '\r') || (point >= 0x1C && point <= 0x1F);
  return point == 0x85 || point == 0xA0 || point == 0x1680 || (point >= 0x2000 && point <= 0x200A) ||
         point == 0x2028 || point == 0x2029 || point == 0x202F || point == 0x205F || point == 0x3000;
}
