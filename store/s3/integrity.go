package s3

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	sdk "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go/middleware"
)

// integrity is how the server can tell a body that arrived whole from one that
// a dying client left half sent. Not every server compares the length of the
// body with what was announced: versitygw 1.8 stores the half of it, in place
// of the object that was there, unless some hash of the whole came along.
type integrity uint8

const (
	// byServer is for AWS, which compares the length; over TLS nothing else
	// can change the bytes, and the SDK signs the others.
	byServer integrity = iota
	// bySignature puts the SHA-256 of the body into the signature, which
	// every server verifies.
	bySignature
	// byChecksum sends a CRC-32 instead, at a tenth of the cost on both
	// sides. It is used where the bytes do not leave the machine.
	byChecksum
)

// integrity chooses for an endpoint that was named.
func (e endpoint) integrity() integrity {
	switch {
	case e.loopback:
		return byChecksum
	case e.amazon:
		return byServer
	}
	return bySignature
}

// set makes the SDK do it.
func (i integrity) set(o *sdk.Options) {
	switch i {
	case bySignature:
		o.APIOptions = append(o.APIOptions, func(stack *middleware.Stack) error {
			always := &v4.ComputePayloadSHA256{}
			_, err := stack.Finalize.Swap(always.ID(), always)
			return err
		})
	case byChecksum:
		o.APIOptions = append(o.APIOptions, v4.SwapComputePayloadSHA256ForUnsignedPayloadMiddleware)
	case byServer:
	}
}

var buffers = sync.Pool{New: func() any { return new([64 << 10]byte) }}

// checksum returns the CRC-32 of a body as its header has it, or nil if it is
// not to be sent.
func (s *Store) checksum(src *source) (*string, error) {
	if s.integrity != byChecksum || src == nil {
		return nil, nil
	}
	buf, ok := buffers.Get().(*[64 << 10]byte)
	if !ok {
		buf = new([64 << 10]byte)
	}
	defer buffers.Put(buf)
	crc, size := uint32(0), src.Size()
	for off := int64(0); off < size; {
		n, err := src.ReadAt(buf[:min(int64(len(buf)), size-off)], off)
		if n == 0 && err != nil {
			if err == io.EOF { //nolint:errorlint // the contract of io.ReaderAt
				err = io.ErrUnexpectedEOF
			}
			return nil, fmt.Errorf("read body: %w", err)
		}
		crc = crc32.Update(crc, crc32.IEEETable, buf[:n])
		off += int64(n)
	}
	return aws.String(base64.StdEncoding.EncodeToString(binary.BigEndian.AppendUint32(nil, crc))), nil
}
