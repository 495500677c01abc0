// Package locks has gateways as processes of their own lock paths of one
// bucket, through package participant and a coordinator, behind proxies that
// are slow, lose answers and refuse requests. Gateways are killed and paused for
// longer than their lease. What they saw is judged as one history:
//
//   - no two owners held claims that conflict at the same time;
//   - fences of a path grow from gateway to gateway;
//   - who waited in the queue before somebody else asked came first;
//   - every wait ended;
//   - no gateway changed a file under a lock that somebody else had meanwhile,
//     and none found a file changed under its own.
//
// The clock of all processes is the machine's, so histories need no search:
// every rule is one about intervals, checked in a sweep. Porcupine, which
// searches, would have to do with histories of some dozens of owners.
//
//	go test -tags integration ./integration/locks/                    seconds
//	CAUSEWAY_LONG=1 go test -tags integration -timeout 3h …           100,000 operations
//	LOCKS_GATEWAYS=4 go test …                                        a short form with 4, and 50 ms
//	LOCKS_SEED=7 go test …                                            other histories
//	LOCKS_KEEP=FILE go test …                                         writes the history that failed
package locks
