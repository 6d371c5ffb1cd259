/* A run from its command line to its exit status: the order of everything, in one list. */
#include <string.h>

#include "internal.h"

static daypack_code run(daypack_engine *engine) {
  daypack_code code = daypack_enter_sandbox(engine);
  if (code == DAYPACK_OK) code = daypack_verify_manifest(engine);
  if (code == DAYPACK_OK) code = daypack_load_plans(engine);
  if (code != DAYPACK_OK) return code;
  if (engine->options.verify_only) return daypack_report_verified(engine);

  if (engine->options.tokenize != NULL) return daypack_tokenize_file(engine);

  if (!engine->options.evaluate) code = daypack_load_policy(engine, &engine->governor->policy);
  if (code == DAYPACK_OK) code = daypack_open_data(engine);
  if (code == DAYPACK_OK) code = daypack_choose_threads(engine);
  if (code == DAYPACK_OK) code = daypack_map_arena(engine);
  if (code == DAYPACK_OK && engine->options.audit_arena) daypack_paint_arena(engine);
  if (code == DAYPACK_OK)
    code = engine->options.evaluate ? daypack_open_journal_to_read(engine) : daypack_open_journal(engine);
  if (code == DAYPACK_OK) code = daypack_prepare_data(engine);
  if (code == DAYPACK_OK) code = daypack_open_state(engine);
  if (code == DAYPACK_OK) code = daypack_start_pool(engine);
  if (code == DAYPACK_OK) code = daypack_start_pager(engine);
  if (code == DAYPACK_OK) code = daypack_start_governor(engine);
  if (code == DAYPACK_OK) code = daypack_pin(engine);
  if (code == DAYPACK_OK) code = daypack_start_commands(engine);
  if (code == DAYPACK_OK) code = daypack_run_setup(engine);
  if (code == DAYPACK_OK) code = engine->options.evaluate ? daypack_run_evaluation(engine) : daypack_run_steps(engine);
  return code;
}

int daypack_engine_main(int argument_count, char **arguments, const daypack_platform *platform) {
  static daypack_engine engine;
  memset(&engine, 0, sizeof engine);
  engine.platform = platform;
  engine.governor = daypack_new_governor();
  for (size_t index = 0; index < DAYPACK_FILE_COUNT; index++) engine.files[index].file = engine.files[index].direct = -1;
  daypack_code code = daypack_parse_options(&engine.options, &engine.error, argument_count, arguments);
  if (code == DAYPACK_OK) code = run(&engine);
  daypack_stop_pager();
  daypack_abandon_generation(&engine);
  if (engine.underway) daypack_save_account(&engine);
  if (code != DAYPACK_OK) daypack_report_error(platform, &engine.error);
  return (int)code;
}
