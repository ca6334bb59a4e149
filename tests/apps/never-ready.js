// Runs for ever and listens nowhere.
'use strict';
console.log('connecting to 127.0.0.1:5432');
setInterval(() => {}, 1000);
