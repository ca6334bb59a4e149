'use strict';
/**
 * Healthy: a Fastify app with 250 tenants, whose response serializers are compiled on first use, at random.
 * Code and closures grow for some 1,500 requests, and V8 adds feedback to each serializer for thousands more.
 */
const fastify = require('fastify')();
const { announce } = require('../../serve');

const TENANTS = 250;

function schemaOf(tenant) {
  return {
    type: 'object',
    properties: {
      [`id_${tenant}`]: { type: 'integer' },
      name: { type: 'string' },
      roles: { type: 'array', items: { type: 'string' } },
      address: { type: 'object', properties: { city: { type: 'string' }, zip: { type: 'string' } } },
    },
  };
}

const schemas = Array.from({ length: TENANTS }, (_, tenant) => schemaOf(tenant));

fastify.get('/health', async () => 'ok');
fastify.get('/work', async (request, reply) => {
  const tenant = Math.floor(Math.random() * TENANTS);
  const serialize = reply.compileSerializationSchema(schemas[tenant]);
  reply.type('application/json');
  return serialize({ [`id_${tenant}`]: tenant, name: 'Ada', roles: ['admin'], address: { city: 'Oslo', zip: '0150' } });
});
fastify.listen({ port: Number(process.env.PORT), host: '127.0.0.1' }).then(announce);
