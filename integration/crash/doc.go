// Package crash ends gateways with kill -9, at random moments and at every k-th
// request and every k-th operation on the journal, and cuts the power under their state
// directories, while writers of all kinds work through two of them. After each
// death the gateway is mounted again and what both show is compared with what
// was acknowledged: nothing may be lost, torn, doubled or back from the dead.
// What was not acknowledged may be there whole or not at all.
//
// A writer has a directory of its own, so that what has to be there is known
// exactly: the tree after the last acknowledged step, or after the one that was
// in flight. All writers share one file that they append to.
//
//	go test -tags integration ./integration/crash/                    24 kills and 8 power cuts
//	CAUSEWAY_LONG=1 go test -tags integration -timeout 3h …           1,000 and 200
//	CRASH_LOCAL=1 go test …                                           with --commit local, too, as the long form does
//	CRASH_SERVER=minio go test …                                      another server
//	CRASH_SEED=7 go test …                                            other histories
//	CRASH_GO_ON=1 go test …                                           further points after a failure
//	CRASH_WITHOUT="rename directory,append" go test …                 random histories without these
//	CRASH_KEEP=DIR go test …                                          copy of the journal after the latest kill
//
// A failure prints the point, the seed, what is allowed and what was found,
// the writer's last steps on the names concerned, and the last requests and
// operations on the state directory before the death.
package crash
