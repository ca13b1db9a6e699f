// What a program in TypeScript does with the generated types; that this compiles is the proof. Nothing runs it.
import createClient from "openapi-fetch";
import type { components, paths } from "./api";

type ChangeRequest = components["schemas"]["ChangeRequestDetail"];
type Readiness = NonNullable<ChangeRequest["readiness"]>;

const api = createClient<paths>({ baseUrl: "https://headgate.example.org" });
const headers = { Authorization: "Token …" };

export async function mergeWhatIsReady(dataset: string): Promise<number[]> {
  const ready: Readiness = "ready";
  const { data, error } = await api.GET("/api/v1/change_requests", {
    headers,
    params: { query: { dataset, readiness: [ready], order_by: "-updated" } },
  });
  if (error) throw new Error(`${error.code}: ${error.message}`);
  const runs: number[] = [];
  for (const request of data.results) {
    const merged = await api.POST("/api/v1/change_requests/{cr_id}/merge", {
      headers: { ...headers, "Idempotency-Key": request.cr_id },
      params: { path: { cr_id: request.cr_id } },
      body: { message: "by the nightly job" },
    });
    if (merged.data) runs.push(merged.data.id);
  }
  return runs;
}

export async function propose(dataset: number, title: string): Promise<ChangeRequest> {
  const { data, error } = await api.POST("/api/v1/change_requests", { headers, body: { dataset, title } });
  if (error) throw new Error(error.message);
  return data;
}

// What the document does not know does not compile.
// @ts-expect-error there is no such readiness
export const wrong: Readiness = "redy";
// @ts-expect-error a title is needed
export const incomplete = api.POST("/api/v1/change_requests", { headers, body: { dataset: 7 } });
// @ts-expect-error there is no such operation
export const unknown = api.GET("/api/v1/change_request", { headers });
