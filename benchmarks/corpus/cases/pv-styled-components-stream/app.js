'use strict';
/**
 * Server-side rendering to a stream with collected styles.
 * Leaky (styled-components 3.1.4): the style sheet's list of clones keeps one per rendered stream.
 */
const React = require('react');
const { renderToNodeStream } = require('react-dom/server');
const { leaky, serve } = require('../../serve');
const { ServerStyleSheet, default: styled } = require(
  leaky ? 'styled-components-leaky' : 'styled-components-fixed',
);

const Card = styled.div`
  padding: 8px;
  color: ${(props) => props.c};
`;
const Title = styled.h1`
  font-size: 20px;
`;

serve(async () => {
  const sheet = new ServerStyleSheet();
  const card = React.createElement(Card, { c: 'red' }, React.createElement(Title, null, 'Hi'));
  const stream = sheet.interleaveWithNodeStream(renderToNodeStream(sheet.collectStyles(card)));
  let html = '';
  for await (const chunk of stream) html += chunk;
  return html;
});
