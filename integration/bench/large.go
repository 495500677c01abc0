package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/aws/aws-sdk-go-v2/feature/s3/transfermanager"
	"github.com/aws/aws-sdk-go-v2/feature/s3/transfermanager/types"

	"github.com/causewayfs/causeway/integration/harness"
)

// chunk is what programs read and write at a time.
const chunk = 1 << 20

// randomBytes are n bytes that do not compress or repeat.
func randomBytes(n int64) []byte {
	b := make([]byte, n)
	x := uint64(0x9e3779b97f4a7c15)
	for i := range b {
		if i%8 == 0 {
			x ^= x << 13
			x ^= x >> 7
			x ^= x << 17
		}
		b[i] = byte(x >> (8 * (i % 8)))
	}
	return b
}

// sdkUpload stores an object with the SDK's transfer manager.
func sdkUpload(b *bench, env *harness.Env, key string, data []byte) time.Duration {
	tm := transfermanager.New(env.Client())
	begin := time.Now()
	_, err := tm.UploadObject(b.Context(), &transfermanager.UploadObjectInput{Bucket: &env.Bucket, Key: &key, Body: bytes.NewReader(data)})
	b.must(err)
	return time.Since(begin)
}

// sdkDownload fetches an object with it, into memory that is there already.
func sdkDownload(b *bench, env *harness.Env, key string, want []byte, into []byte) time.Duration {
	tm := transfermanager.New(env.Client())
	begin := time.Now()
	_, err := tm.DownloadObject(b.Context(), &transfermanager.DownloadObjectInput{Bucket: &env.Bucket, Key: &key, WriterAt: types.NewWriteAtBuffer(into)})
	took := time.Since(begin)
	b.must(err)
	if !bytes.Equal(into, want) {
		b.Fatalf("the transfer manager fetched something else")
	}
	return took
}

// sdkDownloadFile fetches an object with it into a new file.
func sdkDownloadFile(b *bench, env *harness.Env, key string) time.Duration {
	tm := transfermanager.New(env.Server.Client(env.Proxy.URL()))
	f, err := os.Create(filepath.Join(b.TempDir(), "download"))
	b.must(err)
	begin := time.Now()
	_, err = tm.DownloadObject(b.Context(), &transfermanager.DownloadObjectInput{Bucket: &env.Bucket, Key: &key, WriterAt: f})
	took := time.Since(begin)
	b.must(errors.Join(err, f.Close(), os.Remove(f.Name())))
	return took
}

// mountWrite writes a file through the mount; its close is the commit.
func mountWrite(b *bench, path string, data []byte) time.Duration {
	begin := time.Now()
	f, err := os.Create(path)
	b.must(err)
	for at := 0; at < len(data); at += chunk {
		_, err := f.Write(data[at:min(at+chunk, len(data))])
		b.must(err)
	}
	b.must(f.Close())
	return time.Since(begin)
}

// mountRead reads a file through the mount.
func mountRead(b *bench, path string, want, into []byte) time.Duration {
	begin := time.Now()
	f, err := os.Open(path)
	b.must(err)
	at := 0
	for err == nil && at < len(into) {
		var n int
		n, err = f.Read(into[at:min(at+chunk, len(into))])
		at += n
	}
	if err != nil && !errors.Is(err, io.EOF) {
		b.Fatalf("%v", err)
	}
	f.Close()
	took := time.Since(begin)
	if !bytes.Equal(into, want) {
		b.Fatalf("the mount read something else")
	}
	return took
}

// largeSection compares large files with the SDK's transfer manager.
func largeSection(b *bench) {
	env := harness.New(b, harness.Versity)
	data, into := randomBytes(b.large), randomBytes(b.large)
	// Without the proxy: it runs in this process, which would share the cores
	// that block in reads of the mount with it.
	straight := harness.MountOptions{Endpoint: env.Server.URL}
	m := env.MountWith(b, straight)
	var up, down, downFile, write, read []time.Duration
	for i := range b.rounds {
		up = append(up, sdkUpload(b, env, "sdk", data))
		write = append(write, mountWrite(b, m.Path(fmt.Sprint("large", i)), data))
		down = append(down, sdkDownload(b, env, "sdk", data, into))
		downFile = append(downFile, sdkDownloadFile(b, env, "sdk"))
		clear(into)
		cold := env.MountWith(b, straight) // knows and caches nothing
		read = append(read, mountRead(b, cold.Path("sdk"), data, into))
		clear(into)
		cold.Stop()
		b.must(os.Remove(m.Path(fmt.Sprint("large", i))))
	}
	rate := func(d time.Duration) float64 { return float64(b.large) / (1 << 20) / d.Seconds() }
	compare := func(what string, got, sdk []time.Duration) []string {
		g, s := rate(median(got)), rate(median(sdk))
		b.page.claim(what, fmt.Sprintf("%.0f %% of the SDK's transfer manager", 100*g/s), "at least 70 %", g >= 0.7*s)
		return []string{what, fmt.Sprintf("%.0f MiB/s", g), fmt.Sprintf("%.0f MiB/s", s)}
	}
	b.page.text("## Large files\n\n%d MiB, 0 ms added, in turns with the AWS SDK's transfer manager; medians of %d. A write ends with the close, when all of it is in S3; the transfer manager uploads from memory. The reads are by a gateway that has just been started, which keeps what it reads in a file; the transfer manager downloads into a file, as the claim has it, and into memory.\n", b.large>>20, b.rounds)
	rows := [][]string{
		compare(fmt.Sprintf("sequential write of %d MiB", b.large>>20), write, up),
		compare(fmt.Sprintf("cold read of %d MiB", b.large>>20), read, downFile),
	}
	b.page.table([]string{"", "mount", "transfer manager"}, append(rows,
		[]string{"the same, transfer manager into memory", rows[1][1], fmt.Sprintf("%.0f MiB/s", rate(median(down)))}))
	editLarge(b, env, data)
}

// editLarge changes one byte in the middle of a large object.
func editLarge(b *bench, env *harness.Env, data []byte) {
	peer := env.Peer(b)
	m := peer.Mount(b)
	_, err := os.ReadDir(m.Dir)
	b.must(err)
	got := peer.Requests(b, func() {
		f, err := os.OpenFile(m.Path("sdk"), os.O_RDWR, 0)
		b.must(err)
		_, err = f.WriteAt([]byte{^data[len(data)/2]}, int64(len(data)/2))
		b.must(errors.Join(err, f.Close()))
	})
	up, down := peer.Proxy.Stats().Bytes()
	b.page.claim(fmt.Sprintf("1 byte changed in the middle of %d MiB: bytes sent", len(data)>>20), mib(up), "less than 20 MiB", up < 20<<20)
	b.page.text("Changing 1 byte in the middle of an object of %d MiB sends %s and receives %s: %s.\n", len(data)>>20, mib(up), mib(down), counts(got))
	want := bytes.Clone(data)
	want[len(want)/2] = ^want[len(want)/2]
	if o := env.Get(b, "sdk"); o == nil || !bytes.Equal(o.Body, want) {
		b.Errorf("the edited object is not what it should be")
	}
}
