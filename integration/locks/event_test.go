//go:build integration

package locks

import (
	"encoding/json"
	"os"
	"sync"
	"time"

	"github.com/causewayfs/causeway/locks/lease"
)

// event is a line of a gateway's account. Times are of the machine's clock.
type event struct {
	At   time.Duration `json:"t"`
	Kind string        `json:"k"`
	Op   int           `json:"n,omitempty"` // number of the operation on this gateway
	// Of asked:
	Owner string `json:"o,omitempty"`
	Path  string `json:"p,omitempty"`
	Excl  bool   `json:"x,omitempty"`
	Tree  bool   `json:"tree,omitempty"`
	Wait  bool   `json:"w,omitempty"`

	Fence uint64        `json:"f,omitempty"`
	Error string        `json:"e,omitempty"`
	Begun time.Duration `json:"b,omitempty"` // of committed: when the request was sent
	Place int           `json:"place,omitempty"`
	Text  string        `json:"text,omitempty"`
}

// The kinds of events.
const (
	evReady     = "ready"
	evAsked     = "asked"     // a claim
	evQueued    = "queued"    // its place is known
	evGranted   = "granted"   // with a fence
	evFailed    = "failed"    // or not
	evLost      = "lost"      // the grant was lost
	evCommitted = "committed" // a file was changed, or not: Error
	evReleasing = "releasing" // Unlock was called
	evReleased  = "released"  // and has returned
	evDone      = "done"      // all workers have ended
	evAnswer    = "answer"    // to a command
)

// account writes events.
type account struct {
	mu  sync.Mutex
	out *os.File
}

func (a *account) tell(e event) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if e.At == 0 {
		e.At = lease.Boot()
	}
	line, err := json.Marshal(e)
	if err != nil {
		panic(err)
	}
	_, _ = a.out.Write(append(line, '\n')) // the parent may be gone; then this process is ended, too
}
