// Package integration tests Causeway from outside: the real binary, real FUSE
// mounts, real S3 servers, and the programs that people run. The tests have
// the build tag integration and need root, /dev/fuse and the programs that
// `make tools` installs; nothing is skipped for want of one.
//
//	go test -tags integration ./integration/            a run for every change
//	CAUSEWAY_LONG=1 go test -tags integration …         all of the real input
//	CAUSEWAY_RACE=1 go test -tags integration …         the binary built with the race detector
//
// Beside it: s3proxy counts and fails requests, harness runs binaries and
// servers, swamp is a client that issues swamp's system calls, servers pins
// the S3 servers, and bench measures.
package integration
