package retry

import (
	"crypto/rand"
	"maps"
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/causewayfs/causeway/store"
)

// NonceKey is the metadata key that tells whose attempt a version is.
const NonceKey = "causeway-nonce"

// nonces makes nonces and remembers those of uploads.
type nonces struct {
	process string
	counter *atomic.Uint64
	uploads *sync.Map // store.UploadID to string
}

func newNonces() nonces {
	return nonces{process: rand.Text()[:20], counter: new(atomic.Uint64), uploads: new(sync.Map)}
}

// next returns a nonce that nobody else uses: 128 bits are spent on the
// process, and the rest counts.
func (n nonces) next() string {
	return n.process + "-" + strconv.FormatUint(n.counter.Add(1), 36)
}

// upload returns the nonce of an upload; empty if it is not known.
func (n nonces) upload(id store.UploadID) string {
	nonce, _ := n.uploads.Load(id)
	text, _ := nonce.(string)
	return text
}

// mark returns metadata with the nonce added.
func mark(m store.Metadata, nonce string) store.Metadata {
	marked := make(store.Metadata, len(m)+1)
	maps.Copy(marked, m)
	marked[NonceKey] = nonce
	return marked
}

// strip removes the nonce from metadata that came from the store.
func strip(info store.Info) store.Info {
	delete(info.Meta, NonceKey)
	return info
}
