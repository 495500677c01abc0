package harness

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) {
	Main(m, map[string]func([]string) error{
		"echo": func(args []string) error { fmt.Print(args); return nil },
		"fail": func(args []string) error { return fmt.Errorf("as told: %v", args) },
	})
}

func TestObjects(t *testing.T) {
	for _, kind := range []Kind{Versity, MinIO} {
		t.Run(string(kind), func(t *testing.T) {
			env := New(t, kind)
			env.Put(t, "a/b c/ü", []byte("body"), map[string]string{"mode": "33188"})
			got := env.Get(t, "a/b c/ü")
			if got == nil || string(got.Body) != "body" || got.Meta["mode"] != "33188" || got.ETag == "" {
				t.Errorf("Get: got %+v", got)
			}
			if got := env.Get(t, "absent"); got != nil {
				t.Errorf("Get of nothing: got %+v", got)
			}
			if l := env.List(t, "a/"); len(l) != 1 || l[0].Key != "a/b c/ü" || l[0].Size != 4 || l[0].ETag != got.ETag {
				t.Errorf("List: got %+v", l)
			}
			env.Delete(t, "a/b c/ü")
			if l := env.List(t, ""); len(l) != 0 {
				t.Errorf("after Delete: got %+v", l)
			}
		})
	}
}

// TestThroughProxy checks that signatures survive the proxy, also after it
// has taken out conditions.
func TestThroughProxy(t *testing.T) {
	for _, kind := range []Kind{Versity, MinIO} {
		t.Run(string(kind), func(t *testing.T) {
			env := New(t, kind)
			client := env.Server.Client(env.Proxy.URL())
			put := func() error {
				_, err := client.PutObject(t.Context(), &s3.PutObjectInput{
					Bucket: &env.Bucket, Key: aws.String("odd +%/ü~'(1)"), IfNoneMatch: aws.String("*"),
				}, func(o *s3.Options) { o.RetryMaxAttempts = 1 })
				return err
			}
			if err := put(); err != nil {
				t.Fatalf("first conditional PUT: %v", err)
			}
			if err := put(); err == nil {
				t.Fatal("second conditional PUT: no error")
			}
			if n := env.Proxy.Stats().Keys["odd +%/ü~'(1)"]["PutObject"]; n != 2 {
				t.Errorf("counted %d PUTs, want 2:\n%s", n, env.Proxy.Stats())
			}
			env.Proxy.IgnoreConditions(env.Server.AccessKey, env.Server.SecretKey, env.Server.Region)
			if err := put(); err != nil {
				t.Fatalf("conditional PUT with conditions ignored: %v", err)
			}
		})
	}
}

// TestSeed compares seeded objects with one that was PUT.
func TestSeed(t *testing.T) {
	for _, kind := range []Kind{Versity, MinIO} {
		t.Run(string(kind), func(t *testing.T) {
			env := New(t, kind)
			const n = 300
			key := func(i int) string { return fmt.Sprintf("ns/d%d/f%03d", i%7, i) }
			env.Seed(t, n, key)
			env.Put(t, "put", []byte(key(5)), nil)
			seeded, put := env.Get(t, key(5)), env.Get(t, "put")
			if seeded == nil || string(seeded.Body) != key(5) || seeded.ETag != put.ETag {
				t.Errorf("got %+v, want the like of %+v", seeded, put)
			}
			l := env.List(t, "ns/")
			if len(l) != n {
				t.Errorf("%d objects in the listing, want %d", len(l), n)
			}
			for _, o := range l {
				if o.ETag == "" || o.Size != int64(len(o.Key)) {
					t.Fatalf("listed as %+v", o)
				}
			}
			head, err := env.Client().HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: &env.Bucket, Key: aws.String(key(5))})
			if err != nil || aws.ToString(head.ETag) != put.ETag {
				t.Errorf("HEAD: got %v, %v", head, err)
			}
			if kind == Versity {
				compareAttrs(t, env, key(5))
			}
		})
	}
}

// compareAttrs wants the seeded file's ETag attribute to be what versitygw
// writes.
func compareAttrs(t *testing.T, env *Env, key string) {
	t.Helper()
	read := func(key string) string {
		b := make([]byte, 100)
		n, err := unix.Getxattr(filepath.Join(env.Server.bucketDir(env.Bucket), key), "user.etag", b)
		if err != nil {
			t.Fatal(err)
		}
		return string(b[:n])
	}
	if got, want := read(key), read("put"); got != want {
		t.Errorf("ETag attribute: got %s, want %s", got, want)
	}
}

func TestReexec(t *testing.T) {
	out, err := Reexec(t, "echo", "a", "b").Output()
	if err != nil || string(out) != "[a b]" {
		t.Errorf("got %q, %v", out, err)
	}
	if err := Reexec(t, "fail").Run(); err == nil {
		t.Error("a failing child: no error")
	}
}

func TestServersAreShared(t *testing.T) {
	a, b := StartServer(t, Versity), StartServer(t, Versity)
	if a != b {
		t.Error("two servers of one kind")
	}
	resp, err := http.Get(a.URL)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if _, err := os.Stat(a.Root); err != nil {
		t.Error(err)
	}
}
