/* The command line. What is not known is an error; nothing is guessed. */
#include <string.h>

#include "internal.h"

#define USAGE                                                                                                   \
  "usage: engine --bundle DIR [--state DIR] [--data FILE] [--steps N] [--threads N] [--fresh] [--verify-only] " \
  "[--profile] [--direct] [--audit-arena] [--tokenize FILE] [--require-signature KEY] " \
  "[--order NAME] [--memory BYTES] [--rotate] [--squeeze SHARDS] [--relax WINDOWS] [--evaluate [--choices N]] " \
  "[--commands] [--decisions] [--sensors DIR] [--utc-offset SECONDS] [--cpus MASK] [--clamp N]"

enum { MOST_CHOICES = 1000, WHOLE_CLAMP = 1024 };

static daypack_code parse_count(daypack_error *error, const char *name, const char *text, uint64_t limit,
                                uint64_t *count) {
  uint64_t value = 0;
  bool good = *text != '\0';
  for (const char *digit = text; good && *digit != '\0'; digit++) {
    good = *digit >= '0' && *digit <= '9' && value <= limit;
    value = value * 10 + (uint64_t)(unsigned char)*digit - '0';
  }
  if (!good || value == 0 || value > limit)
    return daypack_fail(error, DAYPACK_BAD_INPUT, "%s: expected a number from 1 to %llu, found '%s'", name,
                        (unsigned long long)limit, text);
  *count = value;
  return DAYPACK_OK;
}

static daypack_code parse_signer(daypack_options *options, daypack_error *error, const char *text) {
  const char *end = daypack_parse_hex(text, options->signer, DAYPACK_KEY_BYTES);
  if (end == NULL || *end != '\0')
    return daypack_fail(error, DAYPACK_BAD_INPUT,
                        "--require-signature: expected a public key of 64 digits 0-9 a-f, found '%.80s'", text);
  options->require_signature = true;
  return DAYPACK_OK;
}

static daypack_code parse_order(daypack_error *error, const char *text, uint32_t *order) {
  const uint32_t count = sizeof DAYPACK_ORDER_NAMES / sizeof *DAYPACK_ORDER_NAMES;
  for (uint32_t index = 0; index < count; index++) {
    if (strcmp(text, DAYPACK_ORDER_NAMES[index]) != 0) continue;
    *order = index + 1;
    return DAYPACK_OK;
  }
  return daypack_fail(error, DAYPACK_BAD_INPUT, "--order: expected %s, %s, %s or %s, found '%s'", DAYPACK_ORDER_NAMES[0],
                      DAYPACK_ORDER_NAMES[1], DAYPACK_ORDER_NAMES[2], DAYPACK_ORDER_NAMES[3], text);
}

/* Seconds east of Greenwich, as `date +%z` has them. */
static daypack_code parse_offset(daypack_options *options, daypack_error *error, const char *text) {
  const int32_t most_s = 86400;
  bool negative = *text == '-';
  uint64_t value = 0;
  const char *digits = text + (negative ? 1 : 0);
  bool zero = strcmp(digits, "0") == 0;
  if (!zero && parse_count(error, "--utc-offset", digits, (uint64_t)most_s, &value) != DAYPACK_OK)
    return daypack_fail(error, DAYPACK_BAD_INPUT, "--utc-offset: expected seconds from -%d to %d, found '%s'", most_s,
                        most_s, text);
  options->utc_offset_s = negative ? -(int32_t)value : (int32_t)value;
  return DAYPACK_OK;
}

static daypack_code parse_valued(daypack_options *options, daypack_error *error, const char *name,
                                 char *value) {
  uint64_t count = 0;
  daypack_code code;
  if (strcmp(name, "--bundle") == 0) {
    options->bundle = value;
  } else if (strcmp(name, "--state") == 0) {
    options->state = value;
  } else if (strcmp(name, "--data") == 0) {
    options->data = value;
  } else if (strcmp(name, "--tokenize") == 0) {
    options->tokenize = value;
  } else if (strcmp(name, "--require-signature") == 0) {
    return parse_signer(options, error, value);
  } else if (strcmp(name, "--choices") == 0) {
    return parse_count(error, name, value, MOST_CHOICES, &options->choices);
  } else if (strcmp(name, "--sensors") == 0) {
    options->sensors = value;
  } else if (strcmp(name, "--utc-offset") == 0) {
    return parse_offset(options, error, value);
  } else if (strcmp(name, "--steps") == 0) {
    return parse_count(error, name, value, UINT32_MAX, &options->steps);
  } else if (strcmp(name, "--order") == 0) {
    return parse_order(error, value, &options->order);
  } else if (strcmp(name, "--memory") == 0) {
    return parse_count(error, name, value, INT64_MAX / 16, &options->memory_bytes);
  } else if (strcmp(name, "--squeeze") == 0) {
    return parse_count(error, name, value, UINT32_MAX, &options->squeeze);
  } else if (strcmp(name, "--relax") == 0) {
    return parse_count(error, name, value, UINT32_MAX, &options->relax);
  } else if (strcmp(name, "--cpus") == 0) {
    return parse_count(error, name, value, UINT64_MAX / 16, &options->cpus);
  } else if (strcmp(name, "--clamp") == 0) {
    code = parse_count(error, name, value, WHOLE_CLAMP, &count);
    options->clamp = (uint32_t)count;
    return code;
  } else {
    code = parse_count(error, name, value, DAYPACK_MAX_THREADS, &count);
    options->threads = (uint32_t)count;
    return code;
  }
  return DAYPACK_OK;
}

static bool takes_value(const char *name) {
  return strcmp(name, "--bundle") == 0 || strcmp(name, "--state") == 0 || strcmp(name, "--data") == 0 ||
         strcmp(name, "--steps") == 0 || strcmp(name, "--threads") == 0 || strcmp(name, "--tokenize") == 0 ||
         strcmp(name, "--require-signature") == 0 ||
         strcmp(name, "--order") == 0 || strcmp(name, "--memory") == 0 || strcmp(name, "--squeeze") == 0 ||
         strcmp(name, "--relax") == 0 || strcmp(name, "--choices") == 0 || strcmp(name, "--sensors") == 0 ||
         strcmp(name, "--utc-offset") == 0 || strcmp(name, "--cpus") == 0 || strcmp(name, "--clamp") == 0;
}

/* BUNDLE.state is a sibling of BUNDLE, so the bundle's path must end in a name of its own. */
static daypack_code trim_bundle(daypack_options *options, daypack_error *error, char *path) {
  size_t length = strlen(path);
  while (length > 0 && path[length - 1] == '/') path[--length] = '\0';
  const char *slash = strrchr(path, '/');
  const char *name = slash == NULL ? path : slash + 1;
  if (options->state == NULL && (strcmp(name, "") == 0 || strcmp(name, ".") == 0 || strcmp(name, "..") == 0))
    return daypack_fail(error, DAYPACK_BAD_INPUT,
                        "--bundle: expected a path that ends in the bundle's name, found '%s'; name it or give --state",
                        path);
  return DAYPACK_OK;
}

daypack_code daypack_parse_options(daypack_options *options, daypack_error *error, int count, char **arguments) {
  options->sensors = "";
  for (int position = 1; position < count; position++) {
    const char *name = arguments[position];
    if (strcmp(name, "--fresh") == 0) {
      options->fresh = true;
    } else if (strcmp(name, "--verify-only") == 0) {
      options->verify_only = true;
    } else if (strcmp(name, "--profile") == 0) {
      options->profile = true;
    } else if (strcmp(name, "--direct") == 0) {
      options->direct = true;
    } else if (strcmp(name, "--audit-arena") == 0) {
      options->audit_arena = true;
    } else if (strcmp(name, "--rotate") == 0) {
      options->rotate = true;
    } else if (strcmp(name, "--evaluate") == 0) {
      options->evaluate = true;
    } else if (strcmp(name, "--commands") == 0) {
      options->commands = true;
    } else if (strcmp(name, "--decisions") == 0) {
      options->decisions = true;
    } else if (!takes_value(name)) {
      return daypack_fail(error, DAYPACK_BAD_INPUT, "unknown argument '%s'; " USAGE, name);
    } else if (position + 1 == count) {
      return daypack_fail(error, DAYPACK_BAD_INPUT, "%s: expected a value after it, found none; " USAGE, name);
    } else {
      daypack_code code = parse_valued(options, error, name, arguments[++position]);
      if (code != DAYPACK_OK) return code;
    }
  }
  if (options->bundle == NULL)
    return daypack_fail(error, DAYPACK_BAD_INPUT, "expected --bundle DIR, found none; " USAGE);
  if (options->choices != 0 && !options->evaluate)
    return daypack_fail(error, DAYPACK_BAD_INPUT, "--choices: expected --evaluate with it, found none; " USAGE);
  return trim_bundle(options, error, options->bundle);
}
