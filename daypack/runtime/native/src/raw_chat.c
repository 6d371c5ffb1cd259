/* The messages of one line as pieces: what stands before, between and after the turns is the corpus's. */
#include <string.h>

#include "raw.h"

enum { SYSTEM, USER, ASSISTANT, ROLE_COUNT, WORD_BYTES = 16 };
static const char *const ROLES[ROLE_COUNT] = {"system", "user", "assistant"};
static const uint32_t TRIMS[ROLE_COUNT] = {DAYPACK_TRIM_SYSTEM, DAYPACK_TRIM_USER, DAYPACK_TRIM_ASSISTANT};

typedef struct {
  int role; /* ROLE_COUNT: another */
  daypack_span content;
  daypack_span trimmed;
} turn;

static daypack_code refuse_turn(const daypack_raw *raw) {
  return daypack_raw_refuse(raw, "`messages`: expected turns of {\"role\": string, \"content\": string}");
}

static daypack_code scan_pair(daypack_raw *raw, turn *of, uint32_t *keys) {
  char word[WORD_BYTES];
  bool taken = false;
  daypack_code code = daypack_json_take(raw, '"', &taken);
  if (code == DAYPACK_OK && taken) code = daypack_json_word(raw, word, sizeof word);
  if (code != DAYPACK_OK) return code;
  if (!taken) return refuse_turn(raw);
  uint32_t key = strcmp(word, "role") == 0 ? 1 : strcmp(word, "content") == 0 ? 2 : 0;
  code = daypack_json_take(raw, ':', &taken);
  if (code == DAYPACK_OK && taken) code = daypack_json_take(raw, '"', &taken);
  if (code != DAYPACK_OK) return code;
  if (!taken || key == 0 || (*keys & key) != 0) return refuse_turn(raw);
  *keys |= key;
  if (key == 2) return daypack_json_string(raw, &of->content, &of->trimmed);
  code = daypack_json_word(raw, word, sizeof word);
  of->role = 0;
  while (of->role < ROLE_COUNT && strcmp(ROLES[of->role], word) != 0) of->role++;
  return code;
}

static daypack_code scan_turn(daypack_raw *raw, turn *of) {
  uint32_t keys = 0;
  bool more = false;
  daypack_code code = daypack_json_take(raw, '{', &more);
  if (code == DAYPACK_OK && !more) return refuse_turn(raw);
  while (code == DAYPACK_OK && more) {
    code = scan_pair(raw, of, &keys);
    if (code == DAYPACK_OK) code = daypack_json_take(raw, ',', &more);
  }
  if (code == DAYPACK_OK) code = daypack_json_take(raw, '}', &more);
  if (code == DAYPACK_OK && (!more || keys != 3)) return refuse_turn(raw);
  return code;
}

static void add_text(daypack_piece *piece, const daypack_corpus *corpus, int text) {
  daypack_add_literal(piece, corpus->texts[text], corpus->header->text_bytes[text]);
}

static daypack_code refuse_order(const daypack_raw *raw) {
  return daypack_raw_refuse(raw, "`messages`: expected one system turn or none, then user and assistant in turn, an "
                                 "assistant last");
}

/* Adds a turn to what stands before the next learnt piece, or encodes both when it is the assistant's. */
static daypack_code add_turn(daypack_encoder *encoder, daypack_piece *before, const turn *of, int *last) {
  const daypack_corpus *corpus = encoder->corpus;
  uint32_t chat = corpus->header->chat;
  if (of->role == SYSTEM && *last == ROLE_COUNT && (chat & DAYPACK_CHAT_SYSTEM) == 0)
    return daypack_raw_refuse(encoder->raw, "the chat template takes no system turn; put its text into the user's");
  bool follows = of->role == SYSTEM      ? *last == ROLE_COUNT
                 : of->role == USER      ? *last != USER
                 : of->role == ASSISTANT ? *last == USER
                                         : false;
  if (!follows) return refuse_order(encoder->raw);
  daypack_span content = (chat & TRIMS[of->role]) != 0 ? of->trimmed : of->content;
  if (of->role == SYSTEM) add_text(before, corpus, DAYPACK_SYSTEM_PREFIX);
  if (of->role == USER && *last == ROLE_COUNT) add_text(before, corpus, DAYPACK_START);
  if (of->role == USER && *last == ASSISTANT) add_text(before, corpus, DAYPACK_USER_PREFIX);
  *last = of->role;
  if (of->role != ASSISTANT) daypack_add_span(before, DAYPACK_JSON_STRING, content);
  if (of->role == SYSTEM) add_text(before, corpus, DAYPACK_SYSTEM_JOIN);
  if (of->role != USER && of->role != ASSISTANT) return DAYPACK_OK;
  if (of->role == USER) {
    add_text(before, corpus, DAYPACK_USER_SUFFIX);
    add_text(before, corpus, DAYPACK_ASSISTANT_PREFIX);
    return DAYPACK_OK;
  }
  daypack_piece answer = {.raw = encoder->raw, .learnt = true};
  daypack_add_span(&answer, DAYPACK_JSON_STRING, content);
  add_text(&answer, corpus, DAYPACK_ASSISTANT_SUFFIX);
  uint64_t next = encoder->raw->offset_bytes;
  daypack_code code = daypack_encode_piece(encoder, before);
  if (code == DAYPACK_OK) code = daypack_encode_piece(encoder, &answer);
  encoder->raw->offset_bytes = next;
  *before = (daypack_piece){.raw = encoder->raw};
  return code;
}

daypack_code daypack_encode_messages(daypack_encoder *encoder) {
  daypack_raw *raw = encoder->raw;
  daypack_piece before = {.raw = raw};
  int last = ROLE_COUNT;
  bool more = false;
  if ((encoder->corpus->header->chat & DAYPACK_CHAT) == 0)
    return daypack_raw_refuse(raw, "`messages` need a chat template, and this bundle has none (bundle.json says why); "
                                   "use `prompt` and `completion`");
  daypack_code code = daypack_json_take(raw, '[', &more);
  if (code == DAYPACK_OK && !more) return refuse_turn(raw);
  if (code == DAYPACK_OK) code = daypack_json_take(raw, ']', &more);
  more = !more;
  while (code == DAYPACK_OK && more) {
    turn of = {.role = ROLE_COUNT};
    code = scan_turn(raw, &of);
    if (code == DAYPACK_OK) code = add_turn(encoder, &before, &of, &last);
    if (code == DAYPACK_OK) code = daypack_json_take(raw, ',', &more);
    if (code != DAYPACK_OK || more) continue;
    bool over = false;
    code = daypack_json_take(raw, ']', &over);
    if (code == DAYPACK_OK && !over) return refuse_turn(raw);
  }
  return code == DAYPACK_OK && last != ASSISTANT ? refuse_order(raw) : code;
}
