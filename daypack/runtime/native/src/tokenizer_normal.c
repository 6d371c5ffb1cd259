/* Normalization of points as they come: NFC (Unicode, annex 15), or spaces as U+2581. */
#include "tokenizer.h"

enum {
  HANGUL = 0xAC00,
  LEADS = 0x1100,
  VOWELS = 0x1161,
  TRAILS = 0x11A7, /* one before the first: 0 is none */
  LEAD_COUNT = 19,
  VOWEL_COUNT = 21,
  TRAIL_COUNT = 28,
  FIRST_DECOMPOSED = 0xC0,
  FIRST_COMBINING = 0x300,
};

static uint32_t order_of(const daypack_tokenizer *tokenizer, uint32_t point) {
  return point < FIRST_COMBINING ? 0
                                 : daypack_range_value(tokenizer->orders, tokenizer->header->order_count, point);
}

/* The first composition whose (second, first) is not below. */
static uint32_t find_composition(const daypack_tokenizer *tokenizer, uint32_t second, uint32_t first) {
  uint32_t low = 0;
  uint32_t high = tokenizer->header->composition_count;
  while (low < high) {
    uint32_t middle = low + (high - low) / 2;
    const uint32_t *row = tokenizer->compositions + 3 * (size_t)middle;
    if (row[0] < second || (row[0] == second && row[1] < first))
      low = middle + 1;
    else
      high = middle;
  }
  return low;
}

static bool is_within(uint32_t point, uint32_t first, uint32_t count) { return point - first < count; }

static uint32_t compose(const daypack_tokenizer *tokenizer, uint32_t first, uint32_t second) {
  if (is_within(first, LEADS, LEAD_COUNT) && is_within(second, VOWELS, VOWEL_COUNT))
    return HANGUL + ((first - LEADS) * VOWEL_COUNT + second - VOWELS) * TRAIL_COUNT;
  if (is_within(first, HANGUL, LEAD_COUNT * VOWEL_COUNT * TRAIL_COUNT) && (first - HANGUL) % TRAIL_COUNT == 0 &&
      is_within(second, TRAILS + 1, TRAIL_COUNT - 1))
    return first + second - TRAILS;
  uint32_t index = find_composition(tokenizer, second, first);
  const uint32_t *row = tokenizer->compositions + 3 * (size_t)index;
  return index < tokenizer->header->composition_count && row[0] == second && row[1] == first ? row[2]
                                                                                             : DAYPACK_NO_ID;
}

/* May a point, or what it decomposes into, change with what is before it? */
static bool may_join(const daypack_tokenizer *tokenizer, uint32_t point) {
  if (point < FIRST_COMBINING) return false;
  if (order_of(tokenizer, point) > 0 || is_within(point, VOWELS, VOWEL_COUNT) ||
      is_within(point, TRAILS + 1, TRAIL_COUNT - 1))
    return true;
  uint32_t index = find_composition(tokenizer, point, 0);
  return index < tokenizer->header->composition_count && tokenizer->compositions[3 * (size_t)index] == point;
}

static const uint32_t *decomposition(const daypack_tokenizer *tokenizer, uint32_t point, uint32_t *count) {
  uint32_t low = 0;
  uint32_t high = point < FIRST_DECOMPOSED ? 0 : tokenizer->header->decomposed_count;
  while (low < high) {
    uint32_t middle = low + (high - low) / 2;
    if (tokenizer->decomposed[middle] < point)
      low = middle + 1;
    else
      high = middle;
  }
  if (point < FIRST_DECOMPOSED || low == tokenizer->header->decomposed_count || tokenizer->decomposed[low] != point)
    return NULL;
  *count = tokenizer->decomposed_starts[low + 1] - tokenizer->decomposed_starts[low];
  return tokenizer->decomposed_points + tokenizer->decomposed_starts[low];
}

/* Puts a point in canonical order behind those that are there; false when there is no room. */
static bool append(daypack_tokenizer *tokenizer, uint32_t point) {
  uint32_t *normal = tokenizer->normal;
  uint32_t place = tokenizer->normal_count;
  uint32_t order = order_of(tokenizer, point);
  if (place == DAYPACK_NORMAL_POINTS) return false;
  for (; order > 0 && place > 0 && order_of(tokenizer, normal[place - 1]) > order; place--)
    normal[place] = normal[place - 1];
  normal[place] = point;
  tokenizer->normal_count++;
  return true;
}

/* Hangul syllables need no decomposition here: they compose with a trail as they are. */
static bool append_decomposed(daypack_tokenizer *tokenizer, uint32_t point) {
  uint32_t count = 0;
  const uint32_t *points = decomposition(tokenizer, point, &count);
  if (points == NULL) return append(tokenizer, point);
  for (uint32_t index = 0; index < count; index++)
    if (!append(tokenizer, points[index])) return false;
  return true;
}

static void compose_all(daypack_tokenizer *tokenizer) {
  uint32_t *normal = tokenizer->normal;
  uint32_t count = 0;
  uint32_t starter = DAYPACK_NO_ID;
  uint32_t last_order = 0;
  for (uint32_t index = 0; index < tokenizer->normal_count; index++) {
    uint32_t point = normal[index];
    uint32_t order = order_of(tokenizer, point);
    bool blocked = starter == DAYPACK_NO_ID || (starter + 1 < count && (last_order == 0 || last_order >= order));
    uint32_t composed = blocked ? DAYPACK_NO_ID : compose(tokenizer, normal[starter], point);
    if (composed != DAYPACK_NO_ID) {
      normal[starter] = composed;
      continue;
    }
    if (order == 0) starter = count;
    last_order = order;
    normal[count++] = point;
  }
  tokenizer->normal_count = count;
}

static daypack_code next_run(daypack_tokenizer *tokenizer) {
  uint32_t point = tokenizer->held;
  tokenizer->held = DAYPACK_NO_ID;
  tokenizer->normal_head = tokenizer->normal_count = 0;
  daypack_code code = point == DAYPACK_NO_ID ? daypack_next_raw(tokenizer, &point) : DAYPACK_OK;
  while (code == DAYPACK_OK && point != DAYPACK_NO_ID) {
    if (!append_decomposed(tokenizer, point))
      return daypack_fail(tokenizer->error, DAYPACK_BAD_INPUT,
                          "%s: expected at most %d combining characters in a row, found more", tokenizer->name,
                          DAYPACK_NORMAL_POINTS);
    code = daypack_next_raw(tokenizer, &point);
    uint32_t count = 0;
    const uint32_t *points = point == DAYPACK_NO_ID ? NULL : decomposition(tokenizer, point, &count);
    if (point == DAYPACK_NO_ID || !may_join(tokenizer, points == NULL ? point : points[0])) {
      tokenizer->held = point;
      break;
    }
  }
  if (code == DAYPACK_OK) compose_all(tokenizer);
  return code;
}

daypack_code daypack_next_point(daypack_tokenizer *tokenizer, uint32_t *point) {
  if (!tokenizer->header->normalize) {
    daypack_code code = daypack_next_raw(tokenizer, point);
    if (tokenizer->header->kind == DAYPACK_TOKENIZER_SPACES && *point == ' ') *point = 0x2581;
    return code;
  }
  if (tokenizer->normal_head == tokenizer->normal_count) {
    daypack_code code = next_run(tokenizer);
    if (code != DAYPACK_OK) return code;
  }
  *point = tokenizer->normal_head < tokenizer->normal_count ? tokenizer->normal[tokenizer->normal_head++]
                                                            : DAYPACK_NO_ID;
  return DAYPACK_OK;
}
