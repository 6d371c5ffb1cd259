/* --evaluate: what the model of the saved state makes of labelled rows, one batch a record. Nothing is written but
 * events.
 *
 * With --choices N each N rows are the options of a question, the right one first. A question is answered rightly
 * when the right option is likelier than each of the others; equal ones are not. Rows without labels fill up the last
 * batch. */
#include <math.h>

#include "internal.h"

typedef struct {
  daypack_evaluation found;
  uint64_t option; /* of the question that is under way: rows so far */
  double right;
  double right_by_length;
  bool is_right;
  bool is_right_by_length;
} tally;

static void add_answer(tally *sums, double log_likelihood, double labels) {
  sums->found.rows++;
  sums->found.labels += (uint64_t)labels;
  sums->found.log_likelihood += log_likelihood;
}

static void add_option(tally *sums, uint64_t choices, double log_likelihood, double labels) {
  if (sums->option == 0) {
    add_answer(sums, log_likelihood, labels);
    sums->right = log_likelihood;
    sums->right_by_length = log_likelihood / labels;
    sums->is_right = sums->is_right_by_length = true;
  } else {
    sums->is_right = sums->is_right && sums->right > log_likelihood;
    sums->is_right_by_length = sums->is_right_by_length && sums->right_by_length > log_likelihood / labels;
  }
  if (++sums->option < choices) return;
  sums->option = 0;
  sums->found.questions++;
  sums->found.right += sums->is_right;
  sums->found.right_by_length += sums->is_right_by_length;
}

static daypack_code fail_question(daypack_engine *engine, const tally *sums) {
  return daypack_fail(&engine->error, DAYPACK_BAD_INPUT,
                      "question %llu: expected %llu rows with labels, as --choices says, found %llu",
                      (unsigned long long)sums->found.questions + 1, (unsigned long long)engine->options.choices,
                      (unsigned long long)sums->option);
}

static daypack_code add_batch(daypack_engine *engine, uint64_t batch, tally *sums) {
  const daypack_plan_header *header = engine->plan.header;
  const float *log_likelihood = (const void *)(engine->arena + header->loss_offset_bytes);
  const float *labels = (const void *)(engine->arena + header->weight_offset_bytes);
  for (uint32_t row = 0; row < header->rows; row++) {
    if (!isfinite(log_likelihood[row]) || !isfinite(labels[row]))
      return daypack_fail(&engine->error, DAYPACK_STOPPED,
                          "record %llu, row %u: expected a finite log-likelihood, found %g",
                          (unsigned long long)batch, row,
                          isnan(log_likelihood[row]) ? (double)NAN : (double)log_likelihood[row]);
    if (labels[row] < 1.0F) {
      if (sums->option != 0) return fail_question(engine, sums);
    } else if (engine->options.choices == 0) {
      add_answer(sums, (double)log_likelihood[row], (double)labels[row]);
    } else {
      add_option(sums, engine->options.choices, (double)log_likelihood[row], (double)labels[row]);
    }
  }
  return daypack_report_rows(engine, batch, log_likelihood, labels, header->rows);
}

daypack_code daypack_run_evaluation(daypack_engine *engine) {
  uint64_t batches = daypack_steps_of_pass(engine);
  tally sums = {.option = 0};
  if (engine->options.steps != 0 && engine->options.steps < batches) batches = engine->options.steps;
  daypack_code code = daypack_report_start(engine, daypack_clock_step(engine));
  engine->underway = true;
  uint64_t begin_ns = engine->platform->now_ns();
  for (uint64_t batch = 0; code == DAYPACK_OK && batch < batches; batch++) {
    code = daypack_run_window(engine, batch);
    if (code == DAYPACK_OK) code = add_batch(engine, batch, &sums);
  }
  if (code != DAYPACK_OK) return code;
  if (sums.option != 0) return fail_question(engine, &sums);
  if (sums.found.rows == 0)
    return daypack_fail(&engine->error, DAYPACK_BAD_INPUT, "data: expected a label in %llu records, found none",
                        (unsigned long long)batches);
  return daypack_report_evaluated(engine, &sums.found, engine->platform->now_ns() - begin_ns);
}
