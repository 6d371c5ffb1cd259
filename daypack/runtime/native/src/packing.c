/* Parts of documents into rows that they share: best fit among the open rows (daypack/models/packing.py). A row is on
 * disk from its first part on; of the open ones only the room is kept. */
#include <string.h>

#include "raw.h"

enum { LEAST_TOKENS = 2 }; /* of a part that has a label */

/* The open row with the least room that holds `size` tokens, the oldest of equals; open_count if there is none. */
static uint32_t find_row(const daypack_examples *examples, uint32_t size) {
  uint32_t found = examples->open_count;
  for (uint32_t index = 0; index < examples->open_count; index++)
    if (examples->open[index].room >= size &&
        (found == examples->open_count || examples->open[index].room < examples->open[found].room))
      found = index;
  return found;
}

static void close_row(daypack_examples *examples, uint32_t index) {
  examples->open_count--;
  memmove(examples->open + index, examples->open + index + 1,
          (examples->open_count - index) * sizeof *examples->open);
}

/* An empty row: every place a part of its own, with id 0 and no label. */
static daypack_code open_row(daypack_examples *examples) {
  if (examples->open_count == DAYPACK_OPEN_ROWS) close_row(examples, find_row(examples, 0));
  memset(examples->example, 0, (size_t)examples->example_bytes);
  int32_t *labels = (void *)(examples->example + examples->places[1]);
  int32_t *segments = (void *)(examples->example + examples->places[2]);
  for (uint32_t place = 0; place < examples->sequence; place++) {
    labels[place] = DAYPACK_NO_LABEL;
    segments[place] = (int32_t)place;
  }
  examples->open[examples->open_count].row = examples->examples;
  examples->open[examples->open_count++].room = examples->sequence;
  return examples->write(examples->context, examples->example, examples->example_bytes,
                         examples->examples++ * examples->example_bytes);
}

static daypack_code put(daypack_examples *examples, const int32_t *values, uint64_t offset_bytes) {
  return examples->write(examples->context, values, examples->count * sizeof *values, offset_bytes);
}

daypack_code daypack_pack_part(daypack_examples *examples) {
  daypack_code code = DAYPACK_OK;
  if (!examples->labelled) return code;
  uint32_t index = find_row(examples, examples->count);
  if (index == examples->open_count) {
    code = open_row(examples);
    index = examples->open_count - 1;
  }
  uint32_t start = examples->sequence - examples->open[index].room;
  uint64_t place = examples->open[index].row * examples->example_bytes + start * sizeof(int32_t);
  for (uint32_t token = 0; token < examples->count; token++) examples->starts[token] = (int32_t)start;
  if (code == DAYPACK_OK) code = put(examples, examples->ids, place + examples->places[0]);
  if (code == DAYPACK_OK) code = put(examples, examples->labels, place + examples->places[1]);
  if (code == DAYPACK_OK) code = put(examples, examples->starts, place + examples->places[2]);
  examples->open[index].room -= examples->count;
  if (examples->open[index].room < LEAST_TOKENS) close_row(examples, index);
  return code;
}
