'use strict';
/**
 * Healthy: lodash.memoize over 3,000 possible keys met at random (coupon collector): growth of some 400 B per
 * request at first, halving every 2,000 requests.
 */
const memoize = require('lodash.memoize');
const { serve } = require('../../serve');

const PRODUCTS = 3000;

const describe = memoize((product) => ({
  product,
  title: `Product ${product}`,
  tags: [`tag-${product % 7}`, `tag-${product % 11}`],
  variants: Array.from({ length: 4 }, (_, i) => ({ sku: `${product}-${i}`, price: product + i })),
}));

serve(() => JSON.stringify(describe(Math.floor(Math.random() * PRODUCTS))));
