// A cache in native memory with a fixed number of slots, each allocated on first use.
#include <node_api.h>
#include <stdlib.h>
#include <string.h>

enum { SLOTS = 1500, SLOT_BYTES = 16 * 1024 };
static char *cache[SLOTS];

static napi_value touch(napi_env env, napi_callback_info info) {
  napi_value argument, result;
  size_t argument_count = 1;
  uint32_t slot = 0;
  napi_get_cb_info(env, info, &argument_count, &argument, NULL, NULL);
  napi_get_value_uint32(env, argument, &slot);
  slot %= SLOTS;
  if (!cache[slot]) {
    cache[slot] = malloc(SLOT_BYTES);
    if (!cache[slot]) return NULL;
    memset(cache[slot], 1, SLOT_BYTES);
  }
  cache[slot][0]++;
  napi_create_int32(env, cache[slot][0], &result);
  return result;
}

static napi_value init(napi_env env, napi_value exports) {
  napi_value value;
  napi_create_function(env, "touch", NAPI_AUTO_LENGTH, touch, NULL, &value);
  napi_set_named_property(env, exports, "touch", value);
  napi_create_uint32(env, SLOTS, &value);
  napi_set_named_property(env, exports, "slots", value);
  return exports;
}

NAPI_MODULE(NODE_GYP_MODULE_NAME, init)
