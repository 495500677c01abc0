// Package pages tests the pages for people in a real Chromium, over a filesystem
// whose objects are in memory. The tests have the build tag integration.
//
// CAUSEWAY_SHOTS=DIR leaves pictures of the pages in DIR.
package pages
