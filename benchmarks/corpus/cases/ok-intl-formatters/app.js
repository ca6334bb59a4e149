'use strict';
/**
 * Healthy: Intl formatters are cached by locale and currency, 160 pairs met at random. Each is a small object
 * with tens of KB of ICU data behind it that V8 does not count.
 */
const { serve } = require('../../serve');

const LOCALES = ['en', 'de', 'fr', 'it', 'es', 'pt', 'nl', 'sv', 'da', 'nb', 'fi', 'pl', 'cs', 'hu', 'ja', 'ko'];
const CURRENCIES = ['EUR', 'USD', 'GBP', 'CHF', 'SEK', 'NOK', 'DKK', 'PLN', 'JPY', 'CAD'];
const formatters = new Map();
let count = 0;

const pick = (list) => list[Math.floor(Math.random() * list.length)];

function formatter(locale, currency) {
  const key = `${locale}/${currency}`;
  if (!formatters.has(key)) formatters.set(key, new Intl.NumberFormat(locale, { style: 'currency', currency }));
  return formatters.get(key);
}

serve(() => formatter(pick(LOCALES), pick(CURRENCIES)).format(++count / 100));
