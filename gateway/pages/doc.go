// Package pages shows people what is there and what the gateway does, in a
// browser: [Listing] answers a GET of a directory, [Pages] the status page at
// /-/ and the JSON behind it.
//
//	/-/             the status page
//	/-/api/status   status.Report
//	/-/api/locks    its locks
//	/-/api/history  what was counted in the last minutes, a list of Sample
//	/-/api/events   server-sent events, as the status page takes them
//	/-/assets/      what pages are made of
//
// and beside them what status.Handler has: /-/metrics, /-/health, /-/ready.
//
// # How a page stays current
//
// The status page is rendered here, whole and in parts, from one set of
// templates: whole for whoever asks for it, which is all that a browser without
// script needs, and in parts for the event stream, whose script puts them in the
// place of the old ones. So there is one rendering of everything but the charts,
// which the script draws from samples. A sample is taken every other second by
// one goroutine, whether somebody looks or not; parts are rendered only if
// somebody does, once for all of them.
//
// # What a browser is allowed
//
// Pages have no inline script or style and take nothing from elsewhere; their
// Content-Security-Policy says so. Text of others, such as names of files, goes
// through html/template only.
package pages
