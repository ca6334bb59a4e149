// FNV-1a of a string, computed in a scratch buffer from malloc; hashLeaky never frees it.
#include <node_api.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum { SCRATCH_BYTES = 8192 };

static napi_value hash_text(napi_env env, napi_callback_info info, bool leaky) {
  napi_value argument, result;
  size_t argument_count = 1, length = 0;
  napi_get_cb_info(env, info, &argument_count, &argument, NULL, NULL);

  char *scratch = malloc(SCRATCH_BYTES);
  if (!scratch) return NULL;
  memset(scratch, 1, SCRATCH_BYTES);  // touch every page, or the kernel would not count it
  napi_get_value_string_utf8(env, argument, scratch, SCRATCH_BYTES, &length);

  unsigned hash = 2166136261u;
  for (size_t i = 0; i < length; i++) {
    hash ^= (unsigned char)scratch[i];
    hash *= 16777619u;
  }
  if (!leaky) free(scratch);

  napi_create_uint32(env, hash, &result);
  return result;
}

static napi_value hash(napi_env env, napi_callback_info info) { return hash_text(env, info, false); }
static napi_value hash_leaky(napi_env env, napi_callback_info info) { return hash_text(env, info, true); }

static napi_value init(napi_env env, napi_value exports) {
  napi_value function;
  napi_create_function(env, "hash", NAPI_AUTO_LENGTH, hash, NULL, &function);
  napi_set_named_property(env, exports, "hash", function);
  napi_create_function(env, "hashLeaky", NAPI_AUTO_LENGTH, hash_leaky, NULL, &function);
  napi_set_named_property(env, exports, "hashLeaky", function);
  return exports;
}

NAPI_MODULE(NODE_GYP_MODULE_NAME, init)
