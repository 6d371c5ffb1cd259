/* What a job has used so far, in the state directory: so that limits by the day and by the job hold across runs.
 * A file of another form, or one that was cut, begins anew. */
#include <string.h>

#include "internal.h"

typedef struct {
  uint8_t magic[8];
  uint64_t began_s;
  int64_t day;
  double spent_j;
  uint64_t written_bytes;
  uint64_t check; /* of what is before it */
} record;

static const uint8_t MAGIC[8] = "DPACCT1";

/* FNV-1a, 64 bits (Fowler, Noll, Vo): against a cut or torn file, not against anybody. */
static uint64_t check_of(const record *made) {
  uint64_t hash = UINT64_C(0xcbf29ce484222325);
  const uint8_t *bytes = (const uint8_t *)made;
  for (size_t index = 0; index < offsetof(record, check); index++) hash = (hash ^ bytes[index]) * UINT64_C(0x100000001b3);
  return hash;
}

static bool read_record(daypack_engine *engine, record *found) {
  char path[DAYPACK_PATH_BYTES];
  if (daypack_join(&engine->error, path, engine->state_directory_path, "/", "account") != DAYPACK_OK) return false;
  int file = engine->platform->open_read(path);
  if (file < 0) return false;
  uint64_t count = 0;
  daypack_range rest = {(uint8_t *)found, sizeof *found, 0};
  int64_t result = daypack_read_range(engine->platform, file, &rest, &count);
  (void)engine->platform->close(file);
  return result == 1 && memcmp(found->magic, MAGIC, sizeof MAGIC) == 0 && found->check == check_of(found) &&
         found->spent_j >= 0.0;
}

void daypack_open_account(daypack_engine *engine) {
  daypack_governor *governor = engine->governor;
  daypack_account *account = &governor->account;
  uint64_t now_s = governor->start_wall_ns / 1000000000u;
  int64_t today = (int64_t)(now_s / 86400u);
  record found;
  *account = (daypack_account){now_s, today, 0.0, 0};
  if (engine->options.fresh || !read_record(engine, &found)) return;
  account->began_s = found.began_s < now_s ? found.began_s : now_s;
  account->written_bytes = found.written_bytes;
  if (found.day < today) return;
  account->day = found.day; /* today, or what a clock that has stepped back since called today */
  account->spent_j = found.spent_j;
}

/* Best effort: a run goes on where this cannot be written. */
void daypack_save_account(daypack_engine *engine) {
  const daypack_platform *platform = engine->platform;
  const daypack_account *account = &engine->governor->account;
  char path[DAYPACK_PATH_BYTES], temporary[DAYPACK_PATH_BYTES];
  if (!engine->governor->policy.given) return;
  if (daypack_join(&engine->error, path, engine->state_directory_path, "/", "account") != DAYPACK_OK ||
      daypack_join(&engine->error, temporary, engine->state_directory_path, "/account.tmp", "") != DAYPACK_OK)
    return;
  record made = {{0}, account->began_s, account->day, account->spent_j, account->written_bytes, 0};
  memcpy(made.magic, MAGIC, sizeof MAGIC);
  made.check = check_of(&made);
  int file = platform->open_update(temporary);
  if (file < 0) return;
  uint64_t count = 0;
  daypack_range rest = {(uint8_t *)&made, sizeof made, 0};
  bool written = daypack_write_range(platform, file, &rest, &count) == 1;
  written = platform->close(file) == 0 && written;
  if (!written || platform->rename(temporary, path) < 0) (void)platform->remove(temporary);
}
