//! From the path of a call to the function that answers it, and from an error to a code.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use prost::Message;
use tonic::body::Body;
use tonic::codegen::{BoxStream, Service, http};
use tonic::server::{Grpc, ServerStreamingService, UnaryService};
use tonic::{Code, Request, Response, Status};
use tonic_prost::ProstCodec;

use super::content::Caller;
use super::root::Root;
use super::wire::service::{DIFF, HEALTH, SNAPSHOTS};
use super::{api, diff};

/// The largest message that is read, in bytes.
const MAX_MESSAGE: usize = 1 << 20;

type Support<T> = Pin<Box<dyn Future<Output = Result<T, Status>> + Send>>;

/// A function that answers one kind of call.
struct Handler<F> {
    root: Root,
    method: &'static str,
    function: F,
}

impl<F> Handler<F> {
    /// Starts the function, and tells of it when it ends.
    fn start<Q, R, A>(&self, request: Request<Q>) -> Support<R>
    where
        F: Fn(Root, Q, Caller) -> A,
        A: Future<Output = Result<R, Status>> + Send + 'static,
    {
        let caller = Caller::of(request.metadata());
        let answer = (self.function)(self.root.clone(), request.into_inner(), caller);
        let (counts, method) = (Arc::clone(&self.root.counts), self.method);
        let started = Instant::now();
        Box::pin(async move {
            let answer = answer.await;
            let took = started.elapsed();
            let code = answer.as_ref().err().map_or(Code::Ok, Status::code);
            counts.called(method, code, took);
            match &answer {
                Ok(_) => tracing::info!(method, ?took, "answered"),
                Err(status) => {
                    tracing::info!(method, ?took, ?code, error = status.message(), "refused");
                }
            }
            answer
        })
    }
}

impl<F, Q, R, A> UnaryService<Q> for Handler<F>
where
    F: Fn(Root, Q, Caller) -> A,
    A: Future<Output = Result<R, Status>> + Send + 'static,
    R: 'static,
{
    type Response = R;
    type Future = Support<Response<R>>;

    fn call(&mut self, request: Request<Q>) -> Self::Future {
        let answer = self.start(request);
        Box::pin(async move { answer.await.map(Response::new) })
    }
}

/// A function that answers with a stream.
struct Streaming<F>(Handler<F>);

impl<F, Q, R, A> ServerStreamingService<Q> for Streaming<F>
where
    F: Fn(Root, Q, Caller) -> A,
    A: Future<Output = Result<BoxStream<R>, Status>> + Send + 'static,
    R: 'static,
{
    type Response = R;
    type ResponseStream = BoxStream<R>;
    type Future = Support<Response<BoxStream<R>>>;

    fn call(&mut self, request: Request<Q>) -> Self::Future {
        let answer = self.0.start(request);
        Box::pin(async move { answer.await.map(Response::new) })
    }
}

type HttpRequest = http::Request<Body>;
type HttpResponse = http::Response<Body>;

impl Root {
    async fn route(self, request: HttpRequest) -> HttpResponse {
        let path = request.uri().path().to_owned();
        let Some((service, method)) = path.strip_prefix('/').and_then(|path| path.split_once('/'))
        else {
            return unknown(&path);
        };
        match (service, method) {
            (SNAPSHOTS, "Prepare") => self.unary("Prepare", api::prepare, request).await,
            (SNAPSHOTS, "View") => self.unary("View", api::view, request).await,
            (SNAPSHOTS, "Mounts") => self.unary("Mounts", api::mounts, request).await,
            (SNAPSHOTS, "Commit") => self.unary("Commit", api::commit, request).await,
            (SNAPSHOTS, "Remove") => self.unary("Remove", api::remove, request).await,
            (SNAPSHOTS, "Stat") => self.unary("Stat", api::stat, request).await,
            (SNAPSHOTS, "Update") => self.unary("Update", api::update, request).await,
            (SNAPSHOTS, "List") => self.streaming("List", api::list, request).await,
            (SNAPSHOTS, "Usage") => self.unary("Usage", api::usage, request).await,
            (SNAPSHOTS, "Cleanup") => self.unary("Cleanup", api::cleanup, request).await,
            (DIFF, "Apply") => self.unary("Apply", diff::apply, request).await,
            (DIFF, "Diff") => self.unary("Diff", diff::diff, request).await,
            (HEALTH, "Check") => self.unary("Check", api::check, request).await,
            (HEALTH, "Watch") => self.streaming("Watch", api::watch, request).await,
            _ => unknown(&path),
        }
    }

    async fn unary<Q, R, F, A>(
        self,
        method: &'static str,
        function: F,
        request: HttpRequest,
    ) -> HttpResponse
    where
        Q: Message + Default + Send + 'static,
        R: Message + Default + Send + 'static,
        F: Fn(Self, Q, Caller) -> A,
        A: Future<Output = Result<R, Status>> + Send + 'static,
    {
        let handler = Handler {
            root: self,
            method,
            function,
        };
        grpc().unary(handler, request).await
    }

    async fn streaming<Q, R, F, A>(
        self,
        method: &'static str,
        function: F,
        request: HttpRequest,
    ) -> HttpResponse
    where
        Q: Message + Default + Send + 'static,
        R: Message + Default + Send + 'static,
        F: Fn(Self, Q, Caller) -> A,
        A: Future<Output = Result<BoxStream<R>, Status>> + Send + 'static,
    {
        let handler = Handler {
            root: self,
            method,
            function,
        };
        grpc().server_streaming(Streaming(handler), request).await
    }
}

fn grpc<R, Q>() -> Grpc<ProstCodec<R, Q>>
where
    Q: Message + Default + Send + 'static,
    R: Message + Default + Send + 'static,
{
    Grpc::new(ProstCodec::default()).max_decoding_message_size(MAX_MESSAGE)
}

fn unknown(path: &str) -> HttpResponse {
    let shown: String = path.chars().take(200).collect();
    Status::unimplemented(format!("{shown:?} is not served here")).into_http()
}

impl Service<HttpRequest> for Root {
    type Response = HttpResponse;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<HttpResponse, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: HttpRequest) -> Self::Future {
        let root = self.clone();
        Box::pin(async move { Ok(root.route(request).await) })
    }
}
