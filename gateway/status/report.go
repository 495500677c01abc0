// Package status tells what a running gateway is doing: to `causeway status`
// through a control socket, and to browsers and Prometheus through an address.
//
// # What is served
//
//	/status      the Report as JSON, also at /-/status
//	/-/metrics   the same figures for Prometheus
//	/-/health    200 while requests are served, 503 while draining
//	/-/ready     200 while requests are served and S3 answers, else 503
//
// None of these changes anything or asks S3: a Report is made from counters in
// memory, so it can be asked for as often as anybody likes.
//
// The control socket, which only its user may connect to, serves these and
//
//	POST /sync?path=P   waits until all that was acknowledged of P, a path
//	                    relative to the root of the mount, and of what is
//	                    below it is in S3; without path, of everything
//
// The answer comes when that is so, however long it takes, and is a SyncResult
// as JSON; its Code says how it ended, the HTTP status only whether it is 200,
// done, or an error. A client that goes away ends the wait.
//
//	POST /locks/acquire   asks for a lock, or goes on waiting for it
//	POST /locks/extend    renews its lease, or tells when it is lost
//	POST /locks/release   gives it up
//	POST /locks/break     takes it from whoever has it
//	GET  /locks           lists them, as LockReports
//
// docs/locks.md describes these for other programs.
//
// # How a gateway is found
//
// A gateway listens on a unix socket in its state directory and leaves an
// Entry, a small JSON file, in the runtime directory of its user. A client
// reads the entries, asks each socket, and takes an entry whose socket refuses
// for one that a killed gateway left behind: it is removed. So a crash needs
// no clean-up, and the registry never claims more than what answers.
package status

import (
	"time"

	"github.com/causewayfs/causeway/vfs"
)

// State is what a gateway is about.
type State string

// The states.
const (
	Serving  State = "serving"
	Draining State = "draining" // finishing what was acknowledged, on the way out
)

// Report is the state of one gateway at one moment. Its JSON is a contract:
// fields are added, and neither renamed nor removed.
type Report struct {
	Version    string    `json:"version"`
	State      State     `json:"state"`
	PID        int       `json:"pid"`
	Started    time.Time `json:"started"`
	UptimeSecs float64   `json:"uptime_seconds"`

	Mountpoint   string   `json:"mountpoint,omitempty"` // empty without a mount
	Bucket       string   `json:"bucket"`               // s3://BUCKET[/PREFIX]
	Endpoint     string   `json:"endpoint,omitempty"`   // empty for Amazon S3
	Region       string   `json:"region,omitempty"`
	StateDir     string   `json:"state_dir"`
	ReadOnly     bool     `json:"read_only"`
	SingleWriter bool     `json:"single_writer"` // mounted in spite of Missing
	Missing      []string `json:"missing"`       // capabilities that the endpoint lacks

	Commit     string `json:"commit"` // local or remote: where a file is when close returns
	Goroutines int    `json:"goroutines"`
	OpenFDs    int    `json:"open_fds"` // file descriptors of the process; 0 where the system does not say

	S3       Reach     `json:"s3"`
	Memory   Memory    `json:"memory"`
	Files    vfs.Stats `json:"files"`
	Requests []Request `json:"requests"` // by kind, those that occurred

	// The oldest of what Files counts; MaxListed at most of each.
	Uncommitted []vfs.Uncommitted `json:"uncommitted,omitempty"`
	Kept        []vfs.KeptVersion `json:"kept,omitempty"` // could not be committed

	Locks []LockReport `json:"locks,omitempty"` // sorted by SortLocks
}

// MaxListed bounds the lists of files in a Report.
const MaxListed = 50

// Reach tells whether S3 answers. The counts are since the start.
type Reach struct {
	// State is "reachable"; "away" while requests are refused at once and
	// answers come from what is here; or "doubtful": it was away when it was
	// last asked, and nobody has needed it since.
	State       string    `json:"state"`
	Since       time.Time `json:"since,omitzero"` // of the outage, or when the last one ended
	Outages     int64     `json:"outages"`
	Waiting     int64     `json:"waiting"`      // requests that wait for its return
	Refused     int64     `json:"refused"`      // requests that were not sent since it was away
	Probes      int64     `json:"probes"`       // requests sent to find out
	Retries     int64     `json:"retries"`      // requests that were sent again
	BudgetWaits int64     `json:"budget_waits"` // retries that waited so as not to overload it
}

// Away is the State of an endpoint that does not answer.
const Away = "away"

// Memory is what the process uses, in bytes.
type Memory struct {
	Resident int64 `json:"resident"` // 0 where the system does not say
	Heap     int64 `json:"heap"`     // live and not yet collected objects
	Limit    int64 `json:"limit"`    // what it tries to stay below
}

// Request sums up the requests to S3 of one kind since the start; each attempt
// of one that was repeated counts.
type Request struct {
	Kind     string `json:"kind"` // as store.Op
	Count    int64  `json:"count"`
	InFlight int64  `json:"in_flight"`
	// Errors counts the requests that failed. Answers such as "not modified"
	// are none; Outcomes has both, by the name of their store.Kind.
	Errors        int64            `json:"errors"`
	Outcomes      map[string]int64 `json:"outcomes,omitempty"`
	MeanMs        float64          `json:"mean_ms"`
	P50Ms         float64          `json:"p50_ms"`
	P99Ms         float64          `json:"p99_ms"`
	MaxMs         float64          `json:"max_ms"`
	BytesSent     int64            `json:"bytes_sent"`
	BytesReceived int64            `json:"bytes_received"`
}

// Source makes a Report of the present moment. It is called concurrently and
// must not wait for S3.
type Source func() Report
