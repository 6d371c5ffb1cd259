/* What a run tells: one JSON object a line on standard output, each written whole. */
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "internal.h"

enum { STANDARD_OUTPUT = 1, STANDARD_ERROR = 2 };

static char line[DAYPACK_LINE_BYTES];
static size_t length;

static int flush(const daypack_platform *platform) {
  int result = daypack_write_all(platform, STANDARD_OUTPUT, line, length);
  length = 0;
  return result;
}

static void append_values(const char *format, va_list values) {
  int count = vsnprintf(line + length, sizeof line - length, format, values);
  if (count > 0) length += (size_t)count;
  if (length >= sizeof line) length = sizeof line - 1;
}

DAYPACK_PRINTF(1, 2) static void append(const char *format, ...) {
  va_list values;
  va_start(values, format);
  append_values(format, values);
  va_end(values);
}

/* Bytes of the UTF-8 character at `text`, 0 if there is none. */
static size_t utf8_bytes(const unsigned char *text) {
  size_t size = text[0] < 0x80 ? 1 : text[0] >> 5 == 6 ? 2 : text[0] >> 4 == 14 ? 3 : text[0] >> 3 == 30 ? 4 : 0;
  for (size_t index = 1; index < size; index++)
    if (text[index] >> 6 != 2) return 0;
  return size;
}

static void append_string(const char *text) {
  const unsigned char *next = (const unsigned char *)text;
  append("\"");
  while (*next != '\0') {
    size_t size = utf8_bytes(next);
    if (size == 0)
      append("\\ufffd");
    else if (*next == '"' || *next == '\\')
      append("\\%c", *next);
    else if (*next < 0x20 || *next == 0x7f)
      append("\\u%04x", *next);
    else
      append("%.*s", (int)size, (const char *)next);
    next += size == 0 ? 1 : size;
  }
  append("\"");
}

static daypack_code send(daypack_engine *engine) {
  append("\n");
  int result = flush(engine->platform);
  if (result < 0)
    return daypack_fail(&engine->error, DAYPACK_STOPPED, "standard output: cannot write metrics: %s",
                        strerror(-result));
  return DAYPACK_OK;
}

void daypack_line(const char *format, ...) {
  va_list values;
  va_start(values, format);
  append_values(format, values);
  va_end(values);
}

void daypack_line_text(const char *text) { append_string(text); }
daypack_code daypack_line_send(daypack_engine *engine) { return send(engine); }

static const char *cpu_name(void) {
#if defined(__x86_64__)
  return "x86_64";
#else
  return "aarch64";
#endif
}

static void append_sandbox(uint32_t bits) {
  const char *before = "";
  append("\"sandbox\":[");
  for (uint32_t bit = 0; bit < 3; bit++) {
    static const char *const names[] = {"no_new_privileges", "landlock", "seccomp"};
    if ((bits >> bit & 1) == 0) continue;
    append("%s\"%s\"", before, names[bit]);
    before = ",";
  }
  append("]");
}

daypack_code daypack_report_start(daypack_engine *engine, uint32_t step) {
  append("{\"event\":\"start\",\"version\":1,\"threads\":%u,\"arena_bytes\":%llu,\"cpu\":\"%s\",\"step\":%u,"
         "\"plan\":%u,\"plans\":%u,\"order\":\"%s\",",
         engine->threads, (unsigned long long)engine->plan.header->arena_bytes, cpu_name(), step, engine->plan_index,
         engine->plan_count, DAYPACK_ORDER_NAMES[engine->plan.header->order]);
  append_sandbox(engine->sandbox);
  append("}");
  return send(engine);
}

/* `saved_step` is what the new plan has read: the completed steps that are in memory now. */
daypack_code daypack_report_plan(daypack_engine *engine, const daypack_change *change) {
  const daypack_plan_header *header = engine->plan.header;
  append("{\"event\":\"plan\",\"plan\":%u,\"order\":\"%s\",\"budget_bytes\":%llu,\"arena_bytes\":%llu,\"step\":%llu,"
         "\"discarded\":%s,\"seconds\":%.9f,\"wait_seconds\":%.9f,\"rss_bytes\":%llu,\"read_bytes\":%llu,"
         "\"written_bytes\":%llu,\"source\":\"measured\"}",
         engine->plan_index, DAYPACK_ORDER_NAMES[header->order], (unsigned long long)header->budget_bytes,
         (unsigned long long)header->arena_bytes, (unsigned long long)engine->saved_step,
         change->discarded ? "true" : "false", (double)(engine->platform->now_ns() - change->begin_ns) / 1e9,
         (double)change->wait_ns / 1e9, (unsigned long long)change->rss_bytes, (unsigned long long)engine->read_bytes,
         (unsigned long long)engine->written_bytes);
  return send(engine);
}

/* The weight is a label count; a fraction or a negative one would be the plan's mistake and is shown cut. */
daypack_code daypack_report_step(daypack_engine *engine, uint32_t step, float loss, float weight,
                                 uint64_t elapsed_ns) {
  unsigned long long tokens = weight >= 0.0F && weight < 1e18F ? (unsigned long long)weight : 0;
  append("{\"event\":\"step\",\"step\":%u,\"loss\":%.9g,\"seconds\":%.9f,\"tokens\":%llu,\"peak_rss_bytes\":%llu,"
         "\"save_seconds\":%.9f,\"paused_seconds\":%.9f,\"read_bytes\":%llu,\"weights_read_bytes\":%llu,\"written_bytes\":%llu,"
         "\"micro_batches\":%llu,"
         "\"source\":\"measured\"}",
         step, (double)loss, (double)elapsed_ns / 1e9, tokens,
         (unsigned long long)engine->platform->peak_rss_bytes(), (double)engine->save_ns / 1e9,
         (double)engine->governor->paused_ns / 1e9,
         (unsigned long long)engine->read_bytes, (unsigned long long)engine->weights_read_bytes,
         (unsigned long long)engine->written_bytes, (unsigned long long)engine->micro_batches);
  return send(engine);
}

daypack_code daypack_report_resumed(daypack_engine *engine, uint64_t micro_batches) {
  uint64_t shard = 0;
  for (uint64_t index = 0; index < engine->resume_at; index++)
    shard += engine->plan.steps[index].op == DAYPACK_OP_END_SHARD;
  append("{\"event\":\"resumed\",\"step\":%u,\"shard\":%llu,\"micro_batches\":%llu,\"window\":%u}",
         daypack_clock_step(engine), (unsigned long long)shard, (unsigned long long)micro_batches,
         engine->plan.header->window);
  return send(engine);
}

DAYPACK_MUST_CHECK static daypack_code send_half(const daypack_platform *platform, daypack_error *error) {
  int result = length < sizeof line / 2 ? 0 : flush(platform);
  return result < 0 ? daypack_fail(error, DAYPACK_STOPPED, "standard output: cannot write metrics: %s", strerror(-result))
                    : DAYPACK_OK;
}

daypack_code daypack_report_profile(daypack_engine *engine) {
  append("{\"event\":\"profile\",\"io_seconds\":%.9f,\"transfer_seconds\":%.9f,\"store_seconds\":%.9f,\"kernels\":[",
         (double)engine->io_ns / 1e9, (double)engine->transfer_ns / 1e9, (double)engine->store_ns / 1e9);
  for (uint64_t index = 0; index < engine->plan.header->kernels.count; index++) {
    daypack_kernel_time *time = &engine->kernel_times[index];
    append("%s{\"kernel\":%llu,\"calls\":%llu,\"seconds\":%.9f}", index == 0 ? "" : ",", (unsigned long long)index,
           (unsigned long long)time->calls, (double)time->elapsed_ns / 1e9);
    *time = (daypack_kernel_time){0};
    daypack_code code = send_half(engine->platform, &engine->error);
    if (code != DAYPACK_OK) return code;
  }
  append("],\"shards\":[");
  for (uint64_t shard = 0; shard < engine->governor->shards; shard++) {
    append("%s%.9f", shard == 0 ? "" : ",", (double)engine->shard_ns[shard] / 1e9);
    daypack_code code = send_half(engine->platform, &engine->error);
    if (code != DAYPACK_OK) return code;
  }
  append("]}");
  return send(engine);
}

daypack_code daypack_report_end(daypack_engine *engine, uint64_t steps) {
  append("{\"event\":\"end\",\"steps\":%llu,\"state\":", (unsigned long long)steps);
  append_string(engine->state_path);
  if (engine->options.audit_arena) {
    daypack_arena_audit found = daypack_audit_arena(engine);
    append(",\"arena_touched_bytes\":%llu,\"arena_top_bytes\":%llu", (unsigned long long)found.touched_bytes,
           (unsigned long long)found.top_bytes);
  }
  append("}");
  return send(engine);
}

static daypack_code append_floats(daypack_engine *engine, const char *name, const float *values, uint32_t count) {
  append(",\"%s\":[", name);
  for (uint32_t index = 0; index < count; index++) {
    append("%s%.9g", index == 0 ? "" : ",", (double)values[index]);
    daypack_code code = send_half(engine->platform, &engine->error);
    if (code != DAYPACK_OK) return code;
  }
  append("]");
  return DAYPACK_OK;
}

daypack_code daypack_report_rows(daypack_engine *engine, uint64_t batch, const float *log_likelihood,
                                 const float *labels, uint32_t rows) {
  append("{\"event\":\"rows\",\"batch\":%llu", (unsigned long long)batch);
  daypack_code code = append_floats(engine, "log_likelihood", log_likelihood, rows);
  if (code == DAYPACK_OK) code = append_floats(engine, "labels", labels, rows);
  if (code != DAYPACK_OK) return code;
  append("}");
  return send(engine);
}

daypack_code daypack_report_evaluated(daypack_engine *engine, const daypack_evaluation *found, uint64_t elapsed_ns) {
  append("{\"event\":\"evaluated\",\"step\":%u,\"rows\":%llu,\"labels\":%llu,\"log_likelihood\":%.17g,",
         daypack_clock_step(engine), (unsigned long long)found->rows, (unsigned long long)found->labels,
         found->log_likelihood);
  double perplexity = exp(-found->log_likelihood / (double)found->labels);
  if (isfinite(perplexity))
    append("\"perplexity\":%.9g,", perplexity);
  else
    append("\"perplexity\":null,");
  if (engine->options.choices != 0)
    append("\"questions\":%llu,\"right\":%llu,\"right_by_length\":%llu,", (unsigned long long)found->questions,
           (unsigned long long)found->right, (unsigned long long)found->right_by_length);
  append("\"seconds\":%.9f,\"peak_rss_bytes\":%llu,\"read_bytes\":%llu,\"source\":\"measured\"}",
         (double)elapsed_ns / 1e9, (unsigned long long)engine->platform->peak_rss_bytes(),
         (unsigned long long)engine->read_bytes);
  return send(engine);
}

daypack_code daypack_report_verified(daypack_engine *engine) {
  append("{\"event\":\"verified\",\"version\":1,\"files\":%u}", engine->listed_files);
  return send(engine);
}

/* In lines of up to 512: an id has at most 10 digits, and a line 8,192 bytes. */
daypack_code daypack_report_ids(daypack_engine *engine, const uint32_t *ids, uint32_t count) {
  daypack_code code = DAYPACK_OK;
  for (uint32_t index = 0; index < count && code == DAYPACK_OK;) {
    append("{\"event\":\"ids\",\"ids\":[%u", ids[index++]);
    while (index < count && index % 512 != 0) append(",%u", ids[index++]);
    append("]}");
    code = send(engine);
  }
  return code;
}

daypack_code daypack_report_prepared(daypack_engine *engine, bool reused, uint64_t tokens, uint64_t elapsed_ns) {
  append("{\"event\":\"prepared\",\"examples\":%llu,\"tokens\":%llu,\"reused\":%s,\"seconds\":%.9f,",
         (unsigned long long)engine->data.header.example_count, (unsigned long long)tokens, reused ? "true" : "false",
         (double)elapsed_ns / 1e9);
  append("\"peak_rss_bytes\":%llu,\"source\":\"measured\"}", (unsigned long long)engine->platform->peak_rss_bytes());
  return send(engine);
}

daypack_code daypack_report_tokenized(daypack_engine *engine, uint64_t tokens, uint64_t memory_bytes) {
  append("{\"event\":\"tokenized\",\"tokens\":%llu,\"memory_bytes\":%llu,\"peak_rss_bytes\":%llu}",
         (unsigned long long)tokens, (unsigned long long)memory_bytes,
         (unsigned long long)engine->platform->peak_rss_bytes());
  return send(engine);
}

void daypack_report_error(const daypack_platform *platform, const daypack_error *error) {
  length = 0;
  append("{\"event\":\"error\",\"code\":%d,\"message\":", (int)error->code);
  append_string(error->message);
  append("}\n");
  (void)!flush(platform);
  append("error: %s\n", error->message);
  (void)!daypack_write_all(platform, STANDARD_ERROR, line, length);
  length = 0;
}
