// Remembers the last object it was given by a strong reference; rememberLeaky does not delete the one before.
#include <node_api.h>
#include <stdbool.h>
#include <stddef.h>

static napi_ref last = NULL;

static napi_value keep(napi_env env, napi_callback_info info, bool leaky) {
  napi_value object;
  size_t argument_count = 1;
  napi_get_cb_info(env, info, &argument_count, &object, NULL, NULL);
  if (last && !leaky) napi_delete_reference(env, last);
  napi_create_reference(env, object, 1, &last);
  return NULL;
}

static napi_value remember(napi_env env, napi_callback_info info) { return keep(env, info, false); }
static napi_value remember_leaky(napi_env env, napi_callback_info info) { return keep(env, info, true); }

static napi_value init(napi_env env, napi_value exports) {
  napi_value function;
  napi_create_function(env, "remember", NAPI_AUTO_LENGTH, remember, NULL, &function);
  napi_set_named_property(env, exports, "remember", function);
  napi_create_function(env, "rememberLeaky", NAPI_AUTO_LENGTH, remember_leaky, NULL, &function);
  napi_set_named_property(env, exports, "rememberLeaky", function);
  return exports;
}

NAPI_MODULE(NODE_GYP_MODULE_NAME, init)
