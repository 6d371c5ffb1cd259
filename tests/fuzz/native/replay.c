/* The inputs of files, one after the other: a harness without libFuzzer. With --flip, every single-bit flip of each. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "memory.h"

int main(int count, char **arguments) {
  int first = count > 1 && strcmp(arguments[1], "--flip") == 0 ? 2 : 1;
  unsigned long inputs = 0;
  for (int index = first; index < count; index++) {
    FILE *file = fopen(arguments[index], "rb");
    if (file == NULL || fseek(file, 0, SEEK_END) != 0) return 70;
    long end = ftell(file);
    rewind(file);
    size_t size = (size_t)end;
    uint8_t *data = malloc(size + (size == 0));
    if (data == NULL || fread(data, 1, size, file) != size) return 70;
    (void)fclose(file);
    (void)LLVMFuzzerTestOneInput(data, size);
    inputs++;
    for (size_t bit = 0; first == 2 && bit < 8 * size; bit++, inputs++) {
      data[bit / 8] ^= (uint8_t)(1u << bit % 8);
      (void)LLVMFuzzerTestOneInput(data, size);
      data[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    free(data);
  }
  (void)printf("%lu inputs, %lu accepted\n", inputs, fuzz_accepted());
  return 0;
}
