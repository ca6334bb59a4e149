// What `npm start` starts.
'use strict';
require('../farewell.js');
