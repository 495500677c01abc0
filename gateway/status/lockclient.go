package status

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"syscall"
)

// LockClient makes calls about locks to one gateway. Errors of its methods are
// about the asking: ErrNotRunning when there is no gateway any more.
type LockClient struct {
	entry  Entry
	client *http.Client
}

// NewLockClient returns a client of the gateway of e. Close must be called.
func NewLockClient(e Entry) *LockClient { return &LockClient{entry: e, client: socketClient(e.Socket)} }

// Close closes idle connections.
func (c *LockClient) Close() { c.client.CloseIdleConnections() }

// Acquire asks for a lock, or goes on waiting for it.
func (c *LockClient) Acquire(ctx context.Context, call AcquireCall) (LockAnswer, error) {
	return c.post(ctx, "acquire", call)
}

// Extend renews a lease, or holds a lock.
func (c *LockClient) Extend(ctx context.Context, call ExtendCall) (LockAnswer, error) {
	return c.post(ctx, "extend", call)
}

// Release gives a lock up.
func (c *LockClient) Release(ctx context.Context, id string) (LockAnswer, error) {
	return c.post(ctx, "release", ReleaseCall{ID: id})
}

// Break takes a lock from its holder.
func (c *LockClient) Break(ctx context.Context, call BreakCall) (LockAnswer, error) {
	return c.post(ctx, "break", call)
}

// List returns the locks on path and below, and those that cover it: of all
// gateways, or of this one.
func (c *LockClient) List(ctx context.Context, path string, all bool) ([]LockReport, error) {
	q := url.Values{"path": {path}}
	if all {
		q.Set("all", "1")
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://causeway/locks?"+q.Encode(), nil)
	if err != nil {
		return nil, err
	}
	var raw json.RawMessage
	if err := c.do(req, &raw); err != nil {
		return nil, err
	}
	var reports []LockReport
	if err := json.Unmarshal(raw, &reports); err == nil {
		return reports, nil
	}
	var a LockAnswer
	if err := json.Unmarshal(raw, &a); err != nil || a.Error == "" {
		return nil, fmt.Errorf("read the answer of the gateway on %s: %s", c.entry.Socket, raw)
	}
	return nil, errors.New(a.Error)
}

func (c *LockClient) post(ctx context.Context, call string, body any) (a LockAnswer, err error) {
	data, err := json.Marshal(body)
	if err != nil {
		return a, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://causeway/locks/"+call, bytes.NewReader(data))
	if err != nil {
		return a, err
	}
	return a, c.do(req, &a)
}

func (c *LockClient) do(req *http.Request, answer any) error {
	resp, err := c.client.Do(req)
	if errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, fs.ErrNotExist) {
		return ErrNotRunning
	}
	if err != nil {
		return fmt.Errorf("ask the gateway on %s: %w", c.entry.Socket, err)
	}
	defer resp.Body.Close()
	if resp.Header.Get("Content-Type") != "application/json" {
		return fmt.Errorf("ask the gateway on %s: it has no locks", c.entry.Socket)
	}
	if err := json.NewDecoder(resp.Body).Decode(answer); err != nil {
		return fmt.Errorf("read the answer of the gateway on %s: %w", c.entry.Socket, err)
	}
	return nil
}
