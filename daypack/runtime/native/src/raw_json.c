/* Parts of JSON (RFC 8259) where they lie in a file: strings, whole numbers, punctuation. */
#include <string.h>

#include "raw.h"

enum { REPLACEMENT = 0xFFFD };

static int hex_digit(int byte) {
  if (byte >= '0' && byte <= '9') return byte - '0';
  if (byte >= 'a' && byte <= 'f') return byte - 'a' + 10;
  return byte >= 'A' && byte <= 'F' ? byte - 'A' + 10 : -1;
}

/* Four digits; `unit` is DAYPACK_NO_ID where they are not. */
static daypack_code take_unit(daypack_raw *raw, uint32_t *unit) {
  uint32_t value = 0;
  *unit = DAYPACK_NO_ID;
  for (int index = 0; index < 4; index++) {
    int byte = 0;
    daypack_code code = daypack_raw_peek(raw, &byte);
    if (code != DAYPACK_OK) return code;
    if (hex_digit(byte) < 0) return DAYPACK_OK;
    value = value << 4 | (uint32_t)hex_digit(byte);
    raw->offset_bytes++;
  }
  *unit = value;
  return DAYPACK_OK;
}

/* Behind the first half of a pair: the second if it follows, else nothing is taken. */
static daypack_code take_second_half(daypack_raw *raw, uint32_t *point) {
  uint64_t begin = raw->offset_bytes;
  uint32_t second = DAYPACK_NO_ID;
  int byte = 0;
  daypack_code code = daypack_raw_peek(raw, &byte);
  if (code == DAYPACK_OK && byte == '\\') {
    raw->offset_bytes++;
    code = daypack_raw_peek(raw, &byte);
    if (code == DAYPACK_OK && byte == 'u') {
      raw->offset_bytes++;
      code = take_unit(raw, &second);
    }
  }
  if (second >= 0xDC00 && second <= 0xDFFF) {
    *point = 0x10000 + ((*point - 0xD800) << 10) + (second - 0xDC00);
  } else {
    *point = REPLACEMENT;
    raw->offset_bytes = begin;
  }
  return code;
}

static daypack_code take_escape(daypack_raw *raw, uint32_t *point) {
  static const char from[] = "\"\\/bfnrt";
  static const char to[] = "\"\\/\b\f\n\r\t";
  int byte = 0;
  daypack_code code = daypack_raw_peek(raw, &byte);
  if (code != DAYPACK_OK) return code;
  const char *found = byte > 0 ? strchr(from, byte) : NULL;
  if (found != NULL) {
    *point = (uint32_t)to[found - from];
    raw->offset_bytes++;
    return DAYPACK_OK;
  }
  *point = DAYPACK_NO_ID;
  if (byte == 'u') {
    raw->offset_bytes++;
    code = take_unit(raw, point);
  }
  if (code != DAYPACK_OK) return code;
  if (*point == DAYPACK_NO_ID) return daypack_raw_refuse(raw, "not JSON: an escape that JSON does not have");
  if (*point < 0xD800 || *point > 0xDFFF) return DAYPACK_OK;
  if (*point < 0xDC00) return take_second_half(raw, point);
  *point = REPLACEMENT;
  return DAYPACK_OK;
}

daypack_code daypack_json_point(daypack_raw *raw, uint32_t *point) {
  daypack_code code = daypack_raw_point(raw, point);
  if (code != DAYPACK_OK) return code;
  if (*point == '\\') return take_escape(raw, point);
  if (*point == DAYPACK_NO_ID || *point == '\n') return daypack_raw_refuse(raw, "not JSON: a string without its end");
  if (*point < ' ') return daypack_raw_refuse(raw, "not JSON: a control character in a string");
  if (*point == '"') *point = DAYPACK_NO_ID;
  return DAYPACK_OK;
}

daypack_code daypack_json_take(daypack_raw *raw, char wanted, bool *taken) {
  int byte = 0;
  daypack_code code = daypack_raw_peek(raw, &byte);
  while (code == DAYPACK_OK && (byte == ' ' || byte == '\t' || byte == '\r')) {
    raw->offset_bytes++;
    code = daypack_raw_peek(raw, &byte);
  }
  *taken = code == DAYPACK_OK && byte == wanted;
  if (*taken) raw->offset_bytes++;
  return code;
}

daypack_code daypack_json_string(daypack_raw *raw, daypack_span *whole, daypack_span *trimmed) {
  bool white = true; /* so far */
  daypack_span inner = {raw->offset_bytes, raw->offset_bytes};
  whole->begin = raw->offset_bytes;
  for (;;) {
    uint32_t point = 0;
    whole->end = raw->offset_bytes;
    daypack_code code = daypack_json_point(raw, &point);
    if (code != DAYPACK_OK) return code;
    if (point == DAYPACK_NO_ID) break;
    if (daypack_is_white(point)) continue;
    if (white) inner.begin = whole->end;
    white = false;
    inner.end = raw->offset_bytes;
  }
  if (trimmed != NULL) *trimmed = inner;
  return DAYPACK_OK;
}

daypack_code daypack_json_word(daypack_raw *raw, char *word, size_t size) {
  size_t length = 0;
  bool good = true;
  for (;;) {
    uint32_t point = 0;
    daypack_code code = daypack_json_point(raw, &point);
    if (code != DAYPACK_OK) return code;
    if (point == DAYPACK_NO_ID) break;
    good = good && point > 0 && point < 0x80 && length + 1 < size;
    if (good) word[length++] = (char)point;
  }
  word[good ? length : 0] = '\0';
  return DAYPACK_OK;
}

static daypack_code refuse_number(const daypack_raw *raw, const char *key) {
  return daypack_fail(raw->error, DAYPACK_BAD_INPUT, "%s: line %llu: `%s`: expected a whole number", raw->name,
                      (unsigned long long)raw->line, key);
}

daypack_code daypack_json_integer(daypack_raw *raw, const char *key, int64_t *value) {
  bool negative = false;
  bool good = true;
  int byte = 0;
  int digits = 0;
  uint64_t found = 0;
  daypack_code code = daypack_json_take(raw, '-', &negative);
  while (code == DAYPACK_OK) {
    code = daypack_raw_peek(raw, &byte);
    if (code != DAYPACK_OK || byte < '0' || byte > '9') break;
    good = good && (digits == 0 || found > 0) && found <= (INT64_MAX - 9) / 10; /* no zero in front */
    if (good) found = found * 10 + (uint64_t)(byte - '0');
    digits = 1;
    raw->offset_bytes++;
  }
  if (code != DAYPACK_OK) return code;
  if (!good || digits == 0 || byte == '.' || byte == 'e' || byte == 'E') return refuse_number(raw, key);
  *value = negative ? -(int64_t)found : (int64_t)found;
  return DAYPACK_OK;
}
