/* The sandbox of Linux, and its filter of system calls for a test that reads it. */
#ifndef DAYPACK_SANDBOX_LINUX_H
#define DAYPACK_SANDBOX_LINUX_H

#include "daypack.h"

typedef struct {
  const void *instructions; /* struct sock_filter */
  size_t count;
} daypack_filter;

extern const daypack_filter daypack_seccomp_filter;

/* `confine` of the platform. */
uint32_t daypack_confine(const daypack_confinement *allowed);

#endif
