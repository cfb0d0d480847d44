package proxyauth

import (
	"context"
	"errors"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
)

type principalKey struct{}

// From returns whose stream a context is of.
func From(ctx context.Context) Principal {
	p, _ := ctx.Value(principalKey{}).(Principal)
	return p
}

// Streams returns an interceptor that serves streams to proxies: as many as the
// gate has places for, and for as long as their proof is good.
func (g *Guard) Streams(needed bool, gate *Gate) grpc.StreamServerInterceptor {
	return func(srv any, stream grpc.ServerStream, _ *grpc.StreamServerInfo, next grpc.StreamHandler) error {
		p, err := g.Authenticate(stream.Context(), proofOf(stream.Context()), needed)
		if err != nil {
			return statusOf(err)
		}
		leave, err := gate.Enter(p)
		if err != nil {
			return statusOf(err)
		}
		defer leave()
		ctx, done := g.Begin(context.WithValue(stream.Context(), principalKey{}, p), p)
		defer done()
		err = next(srv, &sessionStream{stream, ctx})
		if ended := context.Cause(ctx); errors.Is(ended, ErrBadProof) {
			return statusOf(ended)
		}
		return err
	}
}

func proofOf(ctx context.Context) (proof Proof) {
	if md, ok := metadata.FromIncomingContext(ctx); ok {
		proof.Authorization = md.Get("authorization")
	}
	if from, ok := peer.FromContext(ctx); ok {
		proof.RemoteAddr = from.Addr.String()
		if info, ok := from.AuthInfo.(credentials.TLSInfo); ok {
			proof.TLS = &info.State
		}
	}
	return proof
}

func statusOf(err error) error {
	var limited *LimitedError
	switch {
	case errors.As(err, &limited), errors.Is(err, ErrTooMany):
		return status.Error(codes.ResourceExhausted, err.Error())
	case errors.Is(err, ErrNoProof), errors.Is(err, ErrBadProof):
		return status.Error(codes.Unauthenticated, err.Error())
	}
	return status.Error(codes.Unavailable, "the host can't say who this is now")
}

// sessionStream is a stream that ends with a session.
type sessionStream struct {
	grpc.ServerStream
	ctx context.Context
}

// Context returns the session's.
func (s *sessionStream) Context() context.Context { return s.ctx }
