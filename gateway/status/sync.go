package status

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"syscall"
	"time"
)

// Syncer returns when all that was acknowledged of path, relative to the root,
// and of what is below it is in S3. An error that is ErrNotCommitted says that
// some of it never will be; the context's end ends the wait.
type Syncer func(ctx context.Context, path string) error

// ErrNotCommitted says that S3 did not take something that was acknowledged:
// its bytes are kept.
var ErrNotCommitted = errors.New("not committed")

// SyncCode says how a wait ended.
type SyncCode string

// The codes. Programs may rely on them.
const (
	SyncDone         SyncCode = "done"          // all of it is in S3
	SyncBadPath      SyncCode = "bad_path"      // no path relative to the root
	SyncNotCommitted SyncCode = "not_committed" // causeway recover lists what is not
	SyncCanceled     SyncCode = "canceled"      // the gateway ends, or the client went away
	SyncFailed       SyncCode = "failed"        // anything else, as Error says
)

// SyncResult is the answer to POST /sync. Its JSON is a contract like that of
// Report.
type SyncResult struct {
	Code  SyncCode `json:"code"`
	Error string   `json:"error,omitempty"` // in words; empty when done
}

var syncStatus = map[SyncCode]int{
	SyncDone:         http.StatusOK,
	SyncBadPath:      http.StatusBadRequest,
	SyncNotCommitted: http.StatusConflict,
	SyncCanceled:     http.StatusServiceUnavailable,
	SyncFailed:       http.StatusInternalServerError,
}

// serveSync answers POST /sync.
func serveSync(sync Syncer) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		// The answer takes as long as S3 does. A writer that has no deadline to
		// take off, in tests, has none.
		_ = http.NewResponseController(w).SetWriteDeadline(time.Time{})
		result := syncResult(r.Context(), sync, r.URL.Query().Get("path"))
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(syncStatus[result.Code])
		// The client is gone if this fails.
		_ = json.NewEncoder(w).Encode(result)
	}
}

func syncResult(ctx context.Context, sync Syncer, p string) SyncResult {
	if p == "." {
		p = ""
	}
	if p != "" && !fs.ValidPath(p) {
		return SyncResult{SyncBadPath, fmt.Sprintf("%q is not a path relative to the root of the mount", p)}
	}
	err := sync(ctx, p)
	switch {
	case err == nil:
		return SyncResult{Code: SyncDone}
	case errors.Is(err, ErrNotCommitted):
		return SyncResult{SyncNotCommitted, err.Error()}
	case ctx.Err() != nil:
		return SyncResult{SyncCanceled, "the gateway ends before all is in S3"}
	}
	return SyncResult{SyncFailed, err.Error()}
}

// Sync has the gateway of e wait until path, relative to the root, is in S3; no
// time limits that but ctx. The error is about the asking: ErrNotRunning when
// there is no gateway any more.
func Sync(ctx context.Context, e Entry, path string) (SyncResult, error) {
	client := socketClient(e.Socket)
	defer client.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://causeway/sync?path="+url.QueryEscape(path), nil)
	if err != nil {
		return SyncResult{}, err
	}
	resp, err := client.Do(req)
	if errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, fs.ErrNotExist) {
		return SyncResult{}, ErrNotRunning
	}
	if err != nil {
		return SyncResult{}, fmt.Errorf("ask the gateway on %s: %w", e.Socket, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusNotFound {
		return SyncResult{}, fmt.Errorf("ask the gateway on %s: it is of a version without sync", e.Socket)
	}
	var r SyncResult
	if err := json.NewDecoder(resp.Body).Decode(&r); err != nil {
		return SyncResult{}, fmt.Errorf("read the answer of the gateway on %s: %w", e.Socket, err)
	}
	return r, nil
}
