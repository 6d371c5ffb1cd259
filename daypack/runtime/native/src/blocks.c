/* The checksums that protect a saved state: CRC-32 of each block of its data, as text in its header.
 *
 * A plan may write the state's records in any order and some of them twice, and records do not begin at blocks. So
 * what is kept while a generation is written is the sum of each part, the bytes that one record has in one block, and
 * the sums of blocks are joined of them when it is saved. Nothing is read back. FORMAT.md has the text. */
#include <string.h>

#include "internal.h"

static const char BEFORE_DIGITS[] = "{\"__metadata__\":{\"daypack\":\"state 1\",\"journal\":\"";
enum { WORD_DIGITS = 8, DIGITS_OFFSET = sizeof(uint64_t) + sizeof BEFORE_DIGITS - 1 };

static uint64_t block_of(uint64_t data_offset_bytes) { return data_offset_bytes / DAYPACK_BLOCK_BYTES; }

static uint64_t parts_of(uint64_t data_offset_bytes, uint64_t size_bytes) {
  return block_of(data_offset_bytes + size_bytes - 1) - block_of(data_offset_bytes) + 1;
}

static uint64_t data_bytes(const daypack_plan *plan) {
  return plan->state_file_bytes - plan->header->state_header.count;
}

bool daypack_find_digits(daypack_plan *plan) {
  uint64_t header_bytes = plan->header->state_header.count;
  uint64_t end = DIGITS_OFFSET;
  plan->block_count = data_bytes(plan) / DAYPACK_BLOCK_BYTES + (data_bytes(plan) % DAYPACK_BLOCK_BYTES != 0);
  plan->digits = plan->header_text + DIGITS_OFFSET;
  plan->digit_count = (DAYPACK_POLICY_WORDS + plan->block_count + 1) * WORD_DIGITS;
  if (!daypack_add(&end, plan->digit_count) || end >= header_bytes) return false;
  if (memcmp(plan->header_text + sizeof(uint64_t), BEFORE_DIGITS, sizeof BEFORE_DIGITS - 1) != 0) return false;
  for (uint64_t index = 0; index < plan->digit_count; index++)
    if (plan->digits[index] != '0') return false;
  plan->part_count = 0;
  for (uint64_t index = 0, offset = 0; index < plan->header->state.count; offset += plan->state[index++].size_bytes)
    plan->part_count += parts_of(offset, plan->state[index].size_bytes);
  return plan->header_text[end] == '"';
}

bool daypack_is_record(const daypack_plan *plan, uint64_t offset_bytes, uint64_t size_bytes) {
  uint64_t offset = plan->header->state_header.count;
  for (uint64_t index = 0; index < plan->header->state.count && offset <= offset_bytes; index++) {
    if (offset == offset_bytes) return size_bytes == plan->state[index].size_bytes;
    offset += plan->state[index].size_bytes;
  }
  return false;
}

daypack_code daypack_map_blocks(daypack_engine *engine) {
  uint64_t count = engine->largest_part_count;
  daypack_prepare_crc32(engine->platform);
  if (count == 0) return DAYPACK_OK;
  engine->parts = count < SIZE_MAX / 8 ? engine->platform->map((size_t)(count * sizeof *engine->parts)) : NULL;
  if (engine->parts != NULL) return DAYPACK_OK;
  return daypack_fail(&engine->error, DAYPACK_MISSING, "memory: expected %llu checksums of the state, found less",
                      (unsigned long long)count);
}

void daypack_sum_range(const daypack_engine *engine, uint64_t record_offset_bytes, const uint8_t *data,
                       uint64_t size_bytes, uint64_t offset_bytes) {
  const daypack_plan *plan = &engine->plan;
  uint64_t header_bytes = plan->header->state_header.count;
  uint64_t record = record_offset_bytes - header_bytes;
  uint64_t next = offset_bytes - header_bytes;
  uint32_t *part = engine->parts;
  for (uint64_t index = 0, offset = 0; offset < record; offset += plan->state[index++].size_bytes)
    part += parts_of(offset, plan->state[index].size_bytes);
  while (size_bytes > 0) {
    uint64_t room = DAYPACK_BLOCK_BYTES - next % DAYPACK_BLOCK_BYTES;
    uint64_t size = size_bytes < room ? size_bytes : room;
    uint32_t *sum = &part[block_of(next) - block_of(record)];
    bool begins = next == record || next % DAYPACK_BLOCK_BYTES == 0;
    *sum = daypack_crc32_raw(begins ? 0 : *sum, data, size);
    data += size;
    next += size;
    size_bytes -= size;
  }
}

static void put_word(char *digits, uint32_t word) {
  for (int index = WORD_DIGITS - 1; index >= 0; index--, word >>= 4) digits[index] = "0123456789abcdef"[word & 15];
}

static bool take_word(const char *digits, uint32_t *word) {
  *word = 0;
  for (int index = 0; index < WORD_DIGITS; index++) {
    char digit = digits[index];
    bool decimal = digit >= '0' && digit <= '9';
    if (!decimal && (digit < 'a' || digit > 'f')) return false;
    *word = *word << 4 | (uint32_t)(decimal ? digit - '0' : digit - 'a' + 10);
  }
  return true;
}

/* The last word is the sum of the digits before it. */
static uint32_t sum_of_digits(const daypack_plan *plan) {
  return daypack_crc32(plan->digits, plan->digit_count - WORD_DIGITS);
}

void daypack_write_digits(daypack_engine *engine) {
  const daypack_plan *plan = &engine->plan;
  char *digits = plan->digits;
  for (size_t index = 0; index < DAYPACK_POLICY_WORDS; index++, digits += WORD_DIGITS)
    put_word(digits, engine->policy_words[index]);
  uint32_t sum = UINT32_MAX;
  const uint32_t *part = engine->parts;
  uint64_t offset = 0;
  for (uint64_t index = 0; index < plan->header->state.count; index++)
    for (uint64_t end = offset + plan->state[index].size_bytes; offset < end;) {
      uint64_t room = DAYPACK_BLOCK_BYTES - offset % DAYPACK_BLOCK_BYTES;
      uint64_t size = end - offset < room ? end - offset : room;
      sum = daypack_crc32_append(sum, *part++, size);
      offset += size;
      if (offset % DAYPACK_BLOCK_BYTES != 0 && offset != data_bytes(plan)) continue;
      put_word(digits, ~sum);
      digits += WORD_DIGITS;
      sum = UINT32_MAX;
    }
  put_word(digits, sum_of_digits(plan));
}

daypack_code daypack_compare_header(daypack_engine *engine, const uint8_t *bytes, uint64_t size_bytes,
                                    uint64_t offset_bytes) {
  const daypack_plan *plan = &engine->plan;
  for (uint64_t index = 0; index < size_bytes; index++) {
    uint64_t position = offset_bytes + index;
    bool digit = position >= DIGITS_OFFSET && position - DIGITS_OFFSET < plan->digit_count;
    if (digit) plan->digits[position - DIGITS_OFFSET] = (char)bytes[index];
    if (!digit && bytes[index] != plan->state_header[position])
      return daypack_fail(&engine->error, DAYPACK_BAD_BUNDLE,
                          "%s: expected the tensors and the identity of this bundle's state, found another header: it "
                          "is the state of another model, method or start; use --fresh to start again, or give --state "
                          "another",
                          engine->files[DAYPACK_FILE_STATE].name);
  }
  return DAYPACK_OK;
}

static daypack_code fail_damaged(daypack_engine *engine, const char *what, uint64_t number, uint32_t expected,
                                 uint32_t found) {
  return daypack_fail(&engine->error, DAYPACK_BAD_BUNDLE,
                      "%s: %s %llu: expected CRC-32 %08x, found %08x: the file is damaged; copy it again, or use "
                      "--fresh to start again",
                      engine->files[DAYPACK_FILE_STATE].name, what, (unsigned long long)number, expected, found);
}

static daypack_code check_block(daypack_engine *engine, uint64_t block, const char *digits) {
  const daypack_plan *plan = &engine->plan;
  const daypack_paged_file *file = &engine->files[DAYPACK_FILE_STATE];
  uint64_t offset = block * DAYPACK_BLOCK_BYTES;
  uint64_t rest = data_bytes(plan) - offset;
  uint64_t size = rest < DAYPACK_BLOCK_BYTES ? rest : DAYPACK_BLOCK_BYTES;
  uint32_t expected = 0;
  if (engine->platform->stop_requested())
    return daypack_fail(&engine->error, DAYPACK_STOPPED, "stopped by a signal while the state was checked");
  daypack_code code = daypack_read_exactly(engine, file->file, file->name, daypack_io_buffer, size,
                                           plan->header->state_header.count + offset);
  if (code != DAYPACK_OK) return code;
  uint32_t found = daypack_crc32(daypack_io_buffer, size);
  bool good = take_word(digits, &expected) && expected == found;
  return good ? DAYPACK_OK : fail_damaged(engine, "block", block, expected, found);
}

daypack_code daypack_check_blocks(daypack_engine *engine) {
  const daypack_plan *plan = &engine->plan;
  const char *digits = plan->digits;
  uint32_t expected = 0;
  uint32_t found = sum_of_digits(plan);
  bool good = take_word(digits + plan->digit_count - WORD_DIGITS, &expected) && expected == found;
  for (size_t index = 0; index < DAYPACK_POLICY_WORDS; index++, digits += WORD_DIGITS)
    good = take_word(digits, &engine->policy_words[index]) && good;
  if (!good) return fail_damaged(engine, "header, checksum", plan->block_count, expected, found);
  daypack_code code = DAYPACK_OK;
  for (uint64_t block = 0; code == DAYPACK_OK && block < plan->block_count; block++, digits += WORD_DIGITS)
    code = check_block(engine, block, digits);
  return code;
}
