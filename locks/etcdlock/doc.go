// Package etcdlock is a [locks.Coordinator] in an etcd cluster, for those who
// have one: locks change hands in milliseconds, since everybody is told of
// changes instead of asking.
//
// # Keys
//
// All are below a prefix that belongs to the bucket:
//
//	PREFIX1/r/KEY          the record KEY: 26 letters and digits (a nonce), "\n", data
//	PREFIX1/s/SESSION      a session: JSON, for people
//	PREFIX1/s/SESSION/KEY  somebody waits for the record KEY of the session
//
// The 1 is the version of the format. The version of a record is its
// modification revision. Writes are transactions that compare it; the nonce tells
// what became of one whose answer was lost.
//
// The keys of a session are attached to its lease, so they go when it is not
// renewed, or revoked. A session has ended when its key is gone. etcd expires a
// lease not before TTL has passed since it was renewed, and after a change of its
// leader later; its owner has stopped acting before (package lease).
//
// # Cost
//
// An idle session costs one renewal per third of TTL. A waiter costs a read, and
// another one every ten seconds, which tells whether the cluster still answers.
package etcdlock
