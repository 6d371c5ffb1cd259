/* The one error style: a code and a message for people, recorded where the failure is found. */
#include <stdarg.h>
#include <stdio.h>

#include "internal.h"

daypack_code daypack_fail(daypack_error *error, daypack_code code, const char *format, ...) {
  va_list values;
  va_start(values, format);
  (void)vsnprintf(error->message, sizeof error->message, format, values);
  va_end(values);
  error->code = code;
  return code;
}
