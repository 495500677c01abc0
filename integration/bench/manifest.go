package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/causewayfs/causeway/integration/harness"
)

// How a datastore with one manifest behaves: a writer waits that long for the
// lock, and looks that often.
const (
	lockWait = 60 * time.Second
	lockPoll = time.Second
)

// manifestSize is that of a manifest of a full namespace, in bytes.
func manifestSize(b *bench) int64 {
	if b.quick {
		return 4 << 20
	}
	return 110_000_000
}

// manifest models a datastore that keeps one object with an entry for every
// file, and one lock object around it.
type manifest struct {
	client *s3.Client
	bucket string
	body   []byte // what it holds: the model never looks into it
}

var errLockTimeout = errors.New("timed out waiting for the lock")

func (m *manifest) put(ctx context.Context, key string, body []byte, onlyNew bool) error {
	in := &s3.PutObjectInput{Bucket: &m.bucket, Key: &key, Body: bytes.NewReader(body)}
	if onlyNew {
		in.IfNoneMatch = aws.String("*")
	}
	_, err := m.client.PutObject(ctx, in)
	return err
}

// lock creates the lock object, as soon as nobody else has it.
func (m *manifest) lock(ctx context.Context) error {
	for deadline := time.Now().Add(lockWait); ; {
		err := m.put(ctx, ".datastore.lock", []byte("{}"), true)
		var resp *awshttp.ResponseError
		if err == nil || !errors.As(err, &resp) || resp.HTTPStatusCode() != http.StatusPreconditionFailed && resp.HTTPStatusCode() != http.StatusConflict {
			return err
		}
		if time.Now().Add(lockPoll).After(deadline) {
			return errLockTimeout
		}
		time.Sleep(lockPoll)
	}
}

// write stores one data object and adds it to the manifest.
func (m *manifest) write(ctx context.Context, key string) error {
	if err := m.put(ctx, key, smallBody, false); err != nil {
		return err
	}
	if err := m.lock(ctx); err != nil {
		return err
	}
	err := m.rewrite(ctx)
	_, unlockErr := m.client.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &m.bucket, Key: aws.String(".datastore.lock")})
	return errors.Join(err, unlockErr)
}

func (m *manifest) rewrite(ctx context.Context) error {
	out, err := m.client.GetObject(ctx, &s3.GetObjectInput{Bucket: &m.bucket, Key: aws.String(".datastore-index.json")})
	if err != nil {
		return err
	}
	defer out.Body.Close()
	if _, err := io.Copy(io.Discard, out.Body); err != nil {
		return err
	}
	return m.put(ctx, ".datastore-index.json", m.body, false)
}

// runManifest lets n clients write one object each at once.
func runManifest(b *bench, n int) writes {
	env := harness.New(b, harness.Versity)
	m := &manifest{
		client: env.Server.Client(env.Proxy.URL()), bucket: env.Bucket,
		body: bytes.Repeat([]byte{'x'}, int(manifestSize(b))),
	}
	b.must(m.put(b.Context(), ".datastore-index.json", m.body, false))
	env.Proxy.SetLatency(latency)
	var sum writes
	var mu sync.Mutex
	var wg sync.WaitGroup
	begin := time.Now()
	for i := range n {
		wg.Go(func() {
			begin := time.Now()
			err := m.write(b.Context(), fmt.Sprint("data/", i))
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
				sum.ok++
				sum.each = append(sum.each, time.Since(begin))
			case errors.Is(err, errLockTimeout):
				sum.failed++
			default:
				b.Errorf("model of a manifest: %v", err)
			}
		})
	}
	wg.Wait()
	sum.wall = time.Since(begin)
	return sum
}
