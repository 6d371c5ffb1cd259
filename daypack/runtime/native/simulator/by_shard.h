/* A device that is driven shard by shard: by the simulator below, or by an engine whose clock and sensors it is.
 * Time is in whole nanoseconds, so that both see the same. */
#ifndef DAYPACK_BY_SHARD_H
#define DAYPACK_BY_SHARD_H

#include "run.h"

uint64_t daypack_shard_now_ns(const daypack_run *r);
/* Compute one shard in what the device's own governor leaves of a gear. */
void daypack_shard_run(daypack_run *r, int32_t gear, int64_t shard);
/* Let time pass; `awake`: held from suspending, as between two steps. `active`: the job has begun. */
void daypack_shard_wait(daypack_run *r, double seconds, int awake, int active);

#endif
