/* corpus.bin: how a raw file is read, checked; and from its documents to tokens. */
#include "raw.h"

#include <stdio.h>
#include <string.h>

static const char MAGIC[8] = {'D', 'P', 'C', 'O', 'R', 'P', 'U', 'S'};

static daypack_code refuse(daypack_error *error, const char *what) {
  return daypack_fail(error, DAYPACK_BAD_BUNDLE, "corpus.bin: expected %s; compile the bundle again", what);
}

daypack_code daypack_load_corpus(daypack_corpus *corpus, daypack_error *error, const void *bytes,
                                 uint64_t size_bytes) {
  const daypack_corpus_header *header = bytes;
  const char *text = (const char *)bytes + sizeof *header;
  if (size_bytes < sizeof *header || size_bytes > DAYPACK_CORPUS_BYTES ||
      memcmp(header->magic, MAGIC, sizeof MAGIC) != 0)
    return refuse(error, "its first bytes to be DPCORPUS, and 80 to 65536 of them");
  if (header->kind > DAYPACK_IDS || header->tokenizer > DAYPACK_TOKENIZER_FILE || header->packing > 1 ||
      header->shuffle > 1 || header->chat > DAYPACK_CHAT_BITS || header->zero != 0 || header->reserved != 0)
    return refuse(error, "a kind of data that this engine knows");
  if (header->sequence == 0 || header->sequence > INT32_MAX) return refuse(error, "examples of 1 token or more");
  uint64_t left = size_bytes - sizeof *header;
  corpus->header = header;
  for (int index = 0; index < DAYPACK_CHAT_TEXTS; index++) {
    if (header->text_bytes[index] > left) return refuse(error, "texts as long as its header says");
    corpus->texts[index] = text;
    text += header->text_bytes[index];
    left -= header->text_bytes[index];
  }
  return left == 0 && header->file_bytes == size_bytes ? DAYPACK_OK : refuse(error, "nothing behind its texts");
}

static daypack_code fail_id(const daypack_encoder *encoder, int64_t id) {
  return daypack_fail(encoder->raw->error, DAYPACK_BAD_INPUT,
                      "%s: token id %lld at position %llu is outside the model's vocabulary [0, %u); use the model's "
                      "own tokenizer",
                      encoder->where, (long long)id, (unsigned long long)encoder->position, encoder->vocabulary);
}

static void name_place(daypack_encoder *encoder) {
  const daypack_raw *raw = encoder->raw;
  if (raw->line == 0)
    (void)snprintf(encoder->where, sizeof encoder->where, "%s", raw->name);
  else
    (void)snprintf(encoder->where, sizeof encoder->where, "%.900s: line %llu", raw->name,
                   (unsigned long long)raw->line);
}

daypack_code daypack_encode_id(daypack_encoder *encoder, int64_t id, bool learnt) {
  if (id < 0 || id >= (int64_t)encoder->vocabulary) {
    name_place(encoder);
    return fail_id(encoder, id);
  }
  encoder->position++;
  return daypack_add_token(encoder->examples, (int32_t)id, learnt);
}

daypack_code daypack_end_document(daypack_encoder *encoder) {
  encoder->position = 0;
  return daypack_end_tokens(encoder->examples);
}

static daypack_code read_text(void *context, uint8_t *bytes, uint32_t size_bytes, uint32_t *count) {
  daypack_encoder *encoder = context;
  return daypack_read_piece(encoder->piece, bytes, size_bytes, count);
}

static daypack_code write_ids(void *context, const uint32_t *ids, uint32_t count) {
  daypack_encoder *encoder = context;
  daypack_code code = DAYPACK_OK;
  for (uint32_t index = 0; code == DAYPACK_OK && index < count; index++)
    code = daypack_encode_id(encoder, ids[index], encoder->piece->learnt);
  return code;
}

static daypack_code encode_bytes(daypack_encoder *encoder, daypack_piece *piece) {
  uint8_t bytes[1024];
  uint32_t count = 0;
  daypack_code code = daypack_read_piece(piece, bytes, sizeof bytes, &count);
  while (code == DAYPACK_OK && count > 0) {
    for (uint32_t index = 0; code == DAYPACK_OK && index < count; index++)
      code = daypack_encode_id(encoder, bytes[index], piece->learnt);
    if (code == DAYPACK_OK) code = daypack_read_piece(piece, bytes, sizeof bytes, &count);
  }
  return code;
}

daypack_code daypack_encode_piece(daypack_encoder *encoder, daypack_piece *piece) {
  encoder->piece = piece;
  switch (encoder->corpus->header->tokenizer) {
    case DAYPACK_TOKENIZER_BYTES: return encode_bytes(encoder, piece);
    case DAYPACK_TOKENIZER_FILE:
      if (encoder->tokenizer == NULL)
        return daypack_raw_refuse(encoder->raw,
                                  "text needs tokenizer.dpt, and this bundle has none; bundle.json says why");
      name_place(encoder);
      return daypack_tokenize(encoder->tokenizer, encoder->where, read_text, write_ids, encoder);
    default: return daypack_raw_refuse(encoder->raw, "text needs a tokenizer, and this bundle's data are ids");
  }
}

/* In any case of the letters of ASCII; something stands before the suffix. */
static bool ends_with(const char *name, const char *suffix) {
  size_t length = strlen(name);
  size_t left = strlen(suffix);
  if (length <= left) return false;
  for (name += length - left; left > 0; left--, name++, suffix++) {
    char letter = *name;
    if (letter >= 'A' && letter <= 'Z') letter = (char)(letter - 'A' + 'a');
    if (letter != *suffix) return false;
  }
  return true;
}

uint32_t daypack_kind_of_name(const char *path) {
  const char *slash = strrchr(path, '/');
  const char *name = slash == NULL ? path : slash + 1;
  if (ends_with(name, ".jsonl") || ends_with(name, ".ndjson")) return DAYPACK_JSONL;
  return ends_with(name, ".csv") ? DAYPACK_CSV : DAYPACK_TEXT;
}

static daypack_code encode_text(daypack_encoder *encoder) {
  daypack_piece piece = {.raw = encoder->raw, .learnt = true};
  daypack_add_span(&piece, DAYPACK_PLAIN, (daypack_span){0, encoder->raw->size_bytes});
  daypack_code code = daypack_encode_piece(encoder, &piece);
  return code == DAYPACK_OK ? daypack_end_document(encoder) : code;
}

static daypack_code encode_documents(daypack_encoder *encoder, uint32_t kind) {
  daypack_begin_raw(encoder->raw, kind != DAYPACK_TEXT);
  daypack_begin_raw(encoder->beside, true);
  switch (kind) {
    case DAYPACK_TEXT: return encode_text(encoder);
    case DAYPACK_CSV: return daypack_encode_questions(encoder);
    default: return daypack_encode_json_lines(encoder, kind == DAYPACK_IDS);
  }
}

daypack_code daypack_encode(daypack_encoder *encoder, uint32_t kind) {
  const daypack_raw *raw = encoder->raw;
  const daypack_examples *made = encoder->examples;
  uint32_t sequence = made->sequence;
  daypack_code code = encode_documents(encoder, kind);
  if (code != DAYPACK_OK) return code;
  if (made->tokens == 0) return daypack_fail(raw->error, DAYPACK_BAD_INPUT, "%s: no tokens in it", raw->name);
  if (!made->packing && made->windows == 0)
    return daypack_fail(raw->error, DAYPACK_BAD_INPUT,
                        "%s: %llu tokens; one window needs %llu (its last token needs its successor): give more text",
                        raw->name, (unsigned long long)made->tokens, sequence + 1ull);
  if (made->examples == 0)
    return daypack_fail(raw->error, DAYPACK_BAD_INPUT,
                        "%s: no label in %llu tokens: no token that is learnt follows another of its document",
                        raw->name, (unsigned long long)made->tokens);
  return DAYPACK_OK;
}
