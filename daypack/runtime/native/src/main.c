#include "daypack.h"

int main(int argument_count, char **arguments) {
  return daypack_engine_main(argument_count, arguments, daypack_platform_posix());
}
