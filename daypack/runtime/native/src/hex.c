/* Bytes as lower-case hexadecimal digits: hashes, keys, signatures. */
#include "internal.h"

static int value_of(char digit) {
  if (digit >= '0' && digit <= '9') return digit - '0';
  if (digit >= 'a' && digit <= 'f') return digit - 'a' + 10;
  return -1;
}

const char *daypack_parse_hex(const char *text, uint8_t *bytes, size_t count) {
  for (size_t index = 0; index < count; index++, text += 2) {
    int high = value_of(text[0]);
    int low = high < 0 ? -1 : value_of(text[1]);
    if (low < 0) return NULL;
    bytes[index] = (uint8_t)(high * 16 + low);
  }
  return text;
}

void daypack_to_hex(const uint8_t *bytes, size_t count, char *text) {
  for (size_t index = 0; index < count; index++) {
    *text++ = "0123456789abcdef"[bytes[index] >> 4];
    *text++ = "0123456789abcdef"[bytes[index] & 15];
  }
  *text = '\0';
}
