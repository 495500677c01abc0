package etcdlock

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/causewayfs/causeway/locks"
	"github.com/causewayfs/causeway/locks/lease"
)

const nonceSize = 26 // of rand.Text

var (
	errFormat    = errors.New("not in a format that this program knows")
	errUnsettled = errors.New("an earlier attempt may have been carried out")
)

// encode returns the value of a record.
func encode(data []byte, nonce string) []byte {
	b := make([]byte, 0, nonceSize+1+len(data))
	return append(append(append(b, nonce...), '\n'), data...)
}

// decode is the inverse of encode.
func decode(value []byte) (data []byte, nonce string, err error) {
	isNonce := func(c byte) bool { return c >= 'A' && c <= 'Z' || c >= '2' && c <= '7' }
	if len(value) <= nonceSize || value[nonceSize] != '\n' ||
		slices.ContainsFunc(value[:nonceSize], func(c byte) bool { return !isNonce(c) }) {
		return nil, "", fmt.Errorf("record that begins with %.40q: %w", value, errFormat)
	}
	return append([]byte{}, value[nonceSize+1:]...), string(value[:nonceSize]), nil
}

func version(revision int64) locks.Version {
	if revision == 0 {
		return ""
	}
	return locks.Version(strconv.FormatInt(revision, 10))
}

// revision is the inverse of version; -1, which no record has, for what is no
// version.
func revision(v locks.Version) int64 {
	if v == "" {
		return 0
	}
	r, err := strconv.ParseInt(string(v), 10, 64)
	if err != nil || r <= 0 {
		return -1
	}
	return r
}

// state describes a record; kv is nil if it does not exist.
func state(key string, kv *mvccpb.KeyValue) (locks.RecordState, error) {
	if kv == nil {
		return locks.RecordState{Key: key}, nil
	}
	data, _, err := decode(kv.Value)
	if err != nil {
		return locks.RecordState{}, fmt.Errorf("read record %q: %w", key, err)
	}
	return locks.RecordState{Key: key, Data: data, Version: version(kv.ModRevision)}, nil
}

func first(kvs []*mvccpb.KeyValue) *mvccpb.KeyValue {
	if len(kvs) == 0 {
		return nil
	}
	return kvs[0]
}

// read gets a key, and the revision of the whole store.
func (c *Coordinator) read(ctx context.Context, key string) (*mvccpb.KeyValue, int64, error) {
	var resp *clientv3.GetResponse
	_, err := c.repeat(ctx, func(ctx context.Context) (err error) {
		resp, err = c.client.Get(ctx, key)
		return err
	})
	if err != nil {
		return nil, 0, err
	}
	return first(resp.Kvs), resp.Header.Revision, nil
}

// Get implements [locks.Coordinator].
func (c *Coordinator) Get(ctx context.Context, key string) (locks.RecordState, error) {
	if err := locks.CheckKey(key); err != nil {
		return locks.RecordState{}, err
	}
	kv, _, err := c.read(ctx, c.recordKey(key))
	if err != nil {
		return locks.RecordState{}, err
	}
	return state(key, kv)
}

// Put implements [locks.Coordinator].
func (c *Coordinator) Put(ctx context.Context, key string, data []byte, v locks.Version) (locks.Version, error) {
	nonce := rand.Text()
	return c.swap(ctx, key, v, nonce, clientv3.OpPut(c.recordKey(key), string(encode(data, nonce))))
}

// Delete implements [locks.Coordinator].
func (c *Coordinator) Delete(ctx context.Context, key string, v locks.Version) error {
	_, err := c.swap(ctx, key, v, "", clientv3.OpDelete(c.recordKey(key)))
	return err
}

// swap carries op out if the record has version v still, and settles what became
// of attempts whose answer was lost. A deletion has no nonce.
func (c *Coordinator) swap(ctx context.Context, key string, v locks.Version, nonce string, op clientv3.Op) (locks.Version, error) {
	if err := locks.CheckKey(key); err != nil {
		return "", err
	}
	name := c.recordKey(key)
	var resp *clientv3.TxnResponse
	lost, err := c.repeat(ctx, func(ctx context.Context) (err error) {
		resp, err = c.client.Txn(ctx).If(clientv3.Compare(clientv3.ModRevision(name), "=", revision(v))).
			Then(op).Else(clientv3.OpGet(name)).Commit()
		return err
	})
	switch {
	case err != nil:
		return "", err
	case resp.Succeeded:
		return version(resp.Header.Revision), nil
	}
	kv := first(resp.Responses[0].GetResponseRange().Kvs)
	switch {
	case !lost:
		return "", locks.ErrConflict
	case nonce == "" && kv == nil:
		return "", nil // by the lost attempt, or by somebody: it is gone
	case nonce != "" && kv != nil && bytes.HasPrefix(kv.Value, []byte(nonce)):
		return version(kv.ModRevision), nil
	}
	return "", fmt.Errorf("write record %q: %w", key, errUnsettled)
}

// Await implements [locks.Coordinator].
func (c *Coordinator) Await(ctx context.Context, key string, v locks.Version, _ func(int) time.Duration) (locks.RecordState, error) {
	if err := locks.CheckKey(key); err != nil {
		return locks.RecordState{}, err
	}
	known := locks.RecordState{Key: key, Version: v}
	for {
		kv, revision, err := c.read(ctx, c.recordKey(key))
		if err != nil {
			return known, ended(ctx, err)
		}
		if known, err = state(key, kv); err != nil || known.Version != v {
			return known, err
		}
		if err := c.change(ctx, c.recordKey(key), revision); err != nil {
			return known, err
		}
	}
}

// change waits until a key has changed since a revision, or for so long that
// it should be read again in any case.
func (c *Coordinator) change(ctx context.Context, key string, revision int64) error {
	watch, cancel := context.WithCancel(clientv3.WithRequireLeader(ctx))
	defer cancel()
	events := c.client.Watch(watch, key, clientv3.WithRev(revision+1))
	timer := time.NewTimer(recheck)
	defer timer.Stop()
	for {
		select {
		case resp, ok := <-events:
			switch {
			case ctx.Err() != nil:
				return ctx.Err()
			case !ok, resp.Err() != nil: // read again, which tells why
				return lease.Pause(ctx, baseDelay)
			case len(resp.Events) > 0:
				return nil
			}
		case <-timer.C:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// ended prefers the reason of a context to that of a request.
func ended(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}
