/* For programs of the tests: a file in memory, its size in `size`; exit code 70 when it cannot be read. */
#ifndef READ_WHOLE_H
#define READ_WHOLE_H

#include <stdio.h>
#include <stdlib.h>

static void *read_whole(const char *path, size_t *size) {
  FILE *file = fopen(path, "rb");
  if (file == NULL || fseek(file, 0, SEEK_END) != 0) exit(70);
  long end = ftell(file);
  rewind(file);
  *size = (size_t)end;
  void *data = malloc(*size + 1);
  if (data == NULL || fread(data, 1, *size, file) != *size) exit(70);
  (void)fclose(file);
  return data;
}

#endif
